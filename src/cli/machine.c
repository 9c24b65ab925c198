/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "cli/machine.h"

#include <errno.h>
#include <string.h>

#include "base/str.h"
#include "daemon/config.h"

/* Which devices there are is of no interest here: their keys stay unread. */
static int skip_key(const char *path, void **ret_key, uint8_t ret_sha256[static 32], void *userdata)
{
        *ret_key = NULL;
        memset(ret_sha256, 0, 32);
        return 0;
}

static void keep_first(const char *message, void *userdata)
{
        Reason *first = userdata;
        if (!first->text[0])
                reason_set(first, 0, "%.300s", message);
}

static int wrong(const char *first, const char *instead, Reason *reason)
{
        bool denied = geteuid() != 0 && strstr(first, strerror(EACCES));
        return reason_set(reason, denied ? -EPERM : -EINVAL,
                          "%s. %s, or do without the configuration: give --tcti, "
                          "--state-directory%s%s",
                          first,
                          denied ? "Use sudo"
                                 : "Mend it (\"sallyportd --check\" tells all that is wrong)",
                          instead ? " and " : "", strempty(instead));
}

/* 0 without settings when there is no configuration and nobody said that there is. */
static int load(const CommandContext *c, const char *instead, Settings **ret, Reason *reason)
{
        static const ConfigKeyLoader loader = { .load = skip_key };
        const char *folder = c->config ? c->config : SALLYPORT_SYSCONFDIR;
        Reason first = { 0 };
        if (!c->config && access(folder, F_OK) < 0 && errno == ENOENT)
                return 0;
        int r = config_load(folder, &loader, keep_first, &first, ret);
        if (r == -EINVAL)
                return wrong(first.text, instead, reason);
        return r < 0 ? reason_set(reason, r, "Cannot read the configuration in %s: %s", folder,
                                  strerror(-r))
                     : 0;
}

int machine_load(const CommandContext *c, const char *instead, Machine *ret, Reason *reason)
{
        Machine m = { .tcti = IDENTITY_DEFAULT_TCTI, .state = SALLYPORT_STATEDIR };
        int r = pcrs_parse(IDENTITY_DEFAULT_PCRS, &m.pcrs);
        if (r == 0 && (!c->tcti || !c->state || instead))
                r = load(c, instead, &m.settings, reason);
        if (r < 0)
                return r;
        if (m.settings) {
                m.tcti = m.settings->tcti;
                m.state = m.settings->state_directory;
                m.pcrs = m.settings->pcrs;
                m.name = m.settings->name;
                m.names = (const char *const *)m.settings->names.words;
                m.n_names = m.settings->names.n;
                m.enrollment.server = m.settings->enrollment.server;
                m.enrollment.ca = m.settings->enrollment.ca;
                m.enrollment.label = m.settings->enrollment.label;
                m.enrollment.user_file = m.settings->enrollment.user_file;
        }
        if (c->tcti)
                m.tcti = c->tcti;
        if (c->state)
                m.state = c->state;
        *ret = m;
        return 0;
}

void machine_done(Machine *m)
{
        settings_free(m->settings);
}

int machine_fail(int error, Reason *reason)
{
        if (error == -EACCES && geteuid() != 0)
                return reason_set(reason, error, "%s (use sudo)", reason->text);
        if (error == -ENODEV)
                return reason_set(reason, error, "%s (TCTI= of [TPM] or --tcti says where it is)",
                                  reason->text);
        return error;
}

int machine_open(const Machine *m, Identity **ret, Reason *reason)
{
        int r = identity_open(m->tcti, m->state, ret, reason);
        return r < 0 ? machine_fail(r, reason) : 0;
}

int machine_identity(const CommandContext *c, Identity **ret, Reason *reason)
{
        _cleanup_machine_ Machine m = { 0 };
        int r = machine_load(c, NULL, &m, reason);
        return r < 0 ? r : machine_open(&m, ret, reason);
}

int machine_files(const CommandContext *c, Identity **ret, Reason *reason)
{
        _cleanup_machine_ Machine m = { 0 };
        int r = machine_load(c, NULL, &m, reason);
        if (r == 0)
                r = identity_open_files(m.state, ret, reason);
        return r < 0 ? machine_fail(r, reason) : 0;
}
