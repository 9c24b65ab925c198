/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Who is revoked is kept over a restart: a device that does not come again would be open as far as
 * its class lets unattested ones go. A file of lines, NAME REASON, written on a thread; the first
 * counts how often it was written, by which an older copy is known (daemon/state-anchor). */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/str.h"
#include "daemon/state-anchor.h"
#include "daemon/trusted-internal.h"
#include "platform/file.h"

#define KEPT_SIZE_MAX ((size_t)4 << 20)
#define GENERATION    "# "

typedef struct Keep {
        char *path;
        Buf text;
        uint64_t generation;
        int error;
} Keep;

static void keep_free(void *data)
{
        Keep *k = data;
        free(k->path);
        buf_done(&k->text);
        free(k);
}

static char *kept_path(const Settings *s)
{
        char *path = NULL;
        return asprintf(&path, "%s/" TRUSTED_KEPT, s->state_directory) < 0 ? NULL : path;
}

static Keep *keep_new(const Trusted *t)
{
        Keep *k = calloc(1, sizeof(*k));
        if (!k)
                return NULL;
        k->text = BUF_INIT(KEPT_SIZE_MAX);
        k->path = kept_path(t->gateway->settings);
        k->generation = t->gateway->revoked_generation + 1;
        int r = k->path ? buf_printf(&k->text, GENERATION "%llu\n",
                                     (unsigned long long)k->generation)
                        : -ENOMEM;
        for (size_t i = 0; r == 0 && i < registry_size(t->gateway->registry); i++) {
                const DeviceState *d = registry_at(t->gateway->registry, i);
                if (d->revoked)
                        r = buf_printf(&k->text, "%s %s\n", d->device->name, d->revoked_reason);
        }
        if (r == 0)
                return k;
        keep_free(k);
        return NULL;
}

static void run(void *data)
{
        Keep *k = data;
        k->error = file_write_atomic(k->path, buf_view(&k->text), 0600);
}

/* What was not written counts for nothing: noted, it would be missed after a restart. */
static void settle(Trusted *t, const Keep *k)
{
        if (k->error == 0) {
                t->gateway->revoked_generation = k->generation;
                return;
        }
        t->dirty = true;
        log_error_errno(k->error, "Cannot keep who is revoked in %s over a restart", k->path);
}

static void on_written(void *data, void *userdata)
{
        const Keep *k = data;
        Trusted *t = userdata;
        bool changed = t->dirty; /* since it began */
        t->keeping = NULL;
        settle(t, k);
        if (changed)
                trusted_save(t);
        else if (k->error == 0)
                state_anchor_note(t->gateway->anchor);
}

static const JobWork work = { .run = run, .free = keep_free, .done = on_written };

void trusted_save(Trusted *t)
{
        t->dirty = true;
        if (t->keeping) /* then once more */
                return;
        Keep *k = keep_new(t);
        int r = k ? job_start(t->gateway->loop, "revoked", &work, k, t, &t->keeping) : -ENOMEM;
        if (r == 0) {
                t->dirty = false;
                return;
        }
        if (k)
                keep_free(k);
        log_error_errno(r, "Cannot keep who is revoked over a restart");
}

/* What is being written may be older than what there is to write. */
void trusted_save_last(Trusted *t)
{
        t->keeping = job_join(t->keeping);
        Keep *k = t->dirty ? keep_new(t) : NULL;
        if (!k)
                return;
        run(k);
        settle(t, k);
        keep_free(k);
}

static void restore_line(Registry *registry, char *line, usec_t now, uint64_t *ret_generation)
{
        const char *generation = startswith(line, GENERATION);
        if (generation && parse_u64(generation, 0, UINT64_MAX, ret_generation) == 0)
                return;
        char *reason = strchr(line, ' ');
        if (!reason)
                return;
        *reason++ = '\0';
        DeviceState *d = registry_get(registry, line);
        if (d && utf8_valid(bytes_from_str(reason)))
                registry_set_revoked(registry, d, true, reason, now);
}

int trusted_restore(const Settings *s, Registry *registry, usec_t now, uint64_t *ret_generation)
{
        _cleanup_free_ char *path = kept_path(s);
        _cleanup_free_ uint8_t *content = NULL;
        size_t len;
        *ret_generation = 0;
        if (!path)
                return -ENOMEM;
        int r = file_read(path, KEPT_SIZE_MAX, &content, &len);
        if (r == -ENOENT)
                return 0;
        if (r < 0)
                return log_error_errno(r, "Cannot read who is revoked from %s", path);
        char *rest = (char *)content;
        for (char *line; (line = strsep(&rest, "\n"));)
                restore_line(registry, line, now, ret_generation);
        return 0;
}
