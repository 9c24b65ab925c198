/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/admission.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/gateway.h"
#include "daemon/trusted.h"

#define PEER_FORMAT_MAX (INET6_ADDRSTRLEN + 10)

/* An IPv4 address that a dual-stack socket saw as ::ffff:a.b.c.d is an IPv4 address. */
static DeviceAddress peer_address(const struct sockaddr_storage *peer)
{
        DeviceAddress a = { 0 };
        if (peer->ss_family == AF_INET) {
                a.family = 4;
                memcpy(a.addr, &((const struct sockaddr_in *)peer)->sin_addr, 4);
        } else if (peer->ss_family == AF_INET6) {
                const struct in6_addr *in6 = &((const struct sockaddr_in6 *)peer)->sin6_addr;
                a.family = IN6_IS_ADDR_V4MAPPED(in6) ? 4 : 6;
                if (a.family == 4)
                        memcpy(a.addr, &in6->s6_addr[12], 4);
                else
                        memcpy(a.addr, in6, 16);
        }
        return a;
}

static void peer_format(const struct sockaddr_storage *peer, char ret[static PEER_FORMAT_MAX])
{
        char text[INET6_ADDRSTRLEN] = "?";
        DeviceAddress a = peer_address(peer);
        uint16_t port = peer->ss_family == AF_INET6 ? ((const struct sockaddr_in6 *)peer)->sin6_port
                                                    : ((const struct sockaddr_in *)peer)->sin_port;
        if (a.family != 0)
                inet_ntop(a.family == 4 ? AF_INET : AF_INET6, a.addr, text, sizeof(text));
        snprintf(ret, PEER_FORMAT_MAX, a.family == 6 ? "[%s]:%u" : "%s:%u", text, ntohs(port));
}

/* Whoever knocks wrongly a thousand times a second must not fill the journal. */
static bool may_log(Gateway *g)
{
        g->refused++;
        if (!ratelimit_take(&g->refusals, loop_now(g->loop)))
                return false;
        uint64_t n = ratelimit_suppressed(&g->refusals);
        if (n > 0)
                log_notice("%llu more refused peers were not logged", (unsigned long long)n);
        return true;
}

void gateway_refused(Gateway *g, const struct sockaddr_storage *peer, const char *transport,
                     const char *reason, const char *detail)
{
        char from[PEER_FORMAT_MAX];
        if (!may_log(g))
                return;
        peer_format(peer, from);
        log_message(LOG_WARNING,
                    LOG_FIELDS({ "REASON", reason }, { "PEER", from }, { "TRANSPORT", transport }),
                    "Refused %s over %s: %s%s%s", from, transport, reason,
                    isempty(detail) ? "" : ": ", strempty(detail));
}

static void note_certificate(DeviceState *d, const PeerCertificate *c)
{
        d->has_certificate = true;
        snprintf(d->certificate_subject, sizeof(d->certificate_subject), "%s", c->common_name);
        snprintf(d->certificate_issuer, sizeof(d->certificate_issuer), "%s", c->issuer);
        snprintf(d->certificate_serial, sizeof(d->certificate_serial), "%s", c->serial);
        memcpy(d->certificate_spki_sha256, c->spki_sha256, sizeof(d->certificate_spki_sha256));
        d->certificate_not_after = c->not_after;
}

static void log_not_identified(Gateway *g, const PeerCertificate *c, const DeviceState *d,
                               const char *from, const char *transport, const char *reason)
{
        if (!may_log(g))
                return;
        _cleanup_free_ char *name = str_escape(bytes_from_str(c->common_name), 64);
        char pin[2 * sizeof(c->spki_sha256) + 1];
        hex_encode(BYTES(c->spki_sha256, sizeof(c->spki_sha256)), pin);
        log_message(LOG_WARNING,
                    LOG_FIELDS({ "DEVICE", d ? d->device->name : NULL }, { "REASON", reason },
                               { "PEER", from }, { "TRANSPORT", transport }),
                    "Refused %s over %s: %s (certificate of \"%s\", key sha256:%s, issued by %s)",
                    from, transport, reason, strempty(name), pin, c->issuer);
}

DeviceState *gateway_admit(Gateway *g, const PeerCertificate *certificate,
                           const struct sockaddr_storage *peer, const char *transport,
                           const char **ret_reason)
{
        const char *names[PEER_NAMES_MAX + 1];
        size_t n = 0;
        char from[PEER_FORMAT_MAX];
        DeviceAddress address = peer_address(peer);
        DeviceState *d = NULL;

        if (!isempty(certificate->common_name))
                names[n++] = certificate->common_name;
        for (size_t i = 0; i < certificate->n_names; i++)
                names[n++] = certificate->names[i];
        peer_format(peer, from);
        IdentifyOutcome outcome =
                registry_identify(g->registry, names, n, certificate->spki_sha256, &address, &d);
        if (outcome != IDENTIFY_OK) {
                *ret_reason = identify_outcome_to_string(outcome);
                log_not_identified(g, certificate, d, from, transport, *ret_reason);
                return NULL;
        }
        note_certificate(d, certificate);
        trusted_note(g->trusted, d, certificate);
        snprintf(d->peer, sizeof(d->peer), "%s", from);
        snprintf(d->transport, sizeof(d->transport), "%s", transport);
        d->last_seen = loop_now(g->loop);
        return d;
}

const Registry *gateway_registry(const Gateway *g)
{
        return g->registry;
}

bool gateway_may_log(Gateway *g, DeviceState *d)
{
        if (!ratelimit_take(&d->lines, loop_now(g->loop)))
                return false;
        uint64_t n = ratelimit_suppressed(&d->lines);
        if (n > 0)
                log_message(LOG_NOTICE, LOG_FIELDS({ "DEVICE", d->device->name }),
                            "%llu more messages about %s were not logged", (unsigned long long)n,
                            d->device->name);
        return true;
}

void gateway_session_opened(Gateway *g, DeviceState *d)
{
        d->sessions++;
        if (!gateway_may_log(g, d))
                return;
        log_message(LOG_INFO,
                    LOG_FIELDS({ "DEVICE", d->device->name }, { "PEER", d->peer },
                               { "TRANSPORT", d->transport }),
                    "%s connected from %s over %s", d->device->name, d->peer, d->transport);
}

void gateway_session_closed(Gateway *g, DeviceState *d)
{
        if (d->sessions > 0)
                d->sessions--;
        log_message(LOG_DEBUG, LOG_FIELDS({ "DEVICE", d->device->name }), "%s disconnected",
                    d->device->name);
}
