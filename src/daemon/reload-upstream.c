/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The server upstream, and by which authorities it is known, change without a restart. */
#include <errno.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/reload.h"
#include "daemon/renewal.h"
#include "platform/crypto.h"
#include "platform/file.h"
#include "platform/x509.h"

#define CA_MAX ((size_t)4 << 20)

void reload_upstream_digest(const Settings *s, uint8_t ret[static 32])
{
        _cleanup_free_ uint8_t *content = NULL;
        size_t len;
        memset(ret, 0, 32);
        if (s->upstream.ca && file_read(s->upstream.ca, CA_MAX, &content, &len) == 0)
                crypto_sha256(BYTES(content, len), ret);
}

static bool differs(const Gateway *g, const Settings *a, const Settings *b)
{
        uint8_t digest[32];
        reload_upstream_digest(b, digest);
        return !streq(a->upstream.host, b->upstream.host) || a->upstream.port != b->upstream.port ||
               !streq(a->upstream.server_name, b->upstream.server_name) ||
               !streq(a->upstream.ca, b->upstream.ca) ||
               !streq(a->upstream.client_id, b->upstream.client_id) ||
               a->upstream.keep_alive != b->upstream.keep_alive ||
               memcmp(digest, g->upstream_ca, sizeof(digest)) != 0;
}

int reload_check_upstream(const Gateway *g, const Settings *fresh, bool *ret_differs,
                          Reason *reason)
{
        bool changed = g->uplink && differs(g, g->settings, fresh);
        if (changed) {
                Reason why;
                int r = authorities_check(fresh->upstream.ca, &why);
                if (r < 0)
                        return reason_set(reason, r, "[Upstream] CA=: %s", why.text);
        }
        *ret_differs = changed;
        return 0;
}

void reload_upstream(Gateway *g)
{
        const MqttClientConfig config = gateway_upstream(g->settings);
        renewal_stop_trial(g->renewal);
        int r = uplink_change(g->uplink, &config);
        if (r < 0)
                log_error_errno(r, "The upstream stays as it was until the next restart");
        reload_upstream_digest(g->settings, g->upstream_ca);
}
