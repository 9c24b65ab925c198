/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/startup.h"

#include <errno.h>

#include "base/log.h"
#include "daemon/config.h"
#include "daemon/references.h"
#include "daemon/trusted.h"
#include "domain/appraisal.h"
#include "platform/crypto.h"
#include "platform/x509.h"

static int load_key(const char *path, void **ret_key, uint8_t ret_sha256[static 32], void *userdata)
{
        _cleanup_(public_key_unrefp) PublicKey *key = NULL;
        int r = public_key_load(path, &key);
        if (r >= 0 && !psa_algorithm_allowed(public_key_alg(key)))
                r = -EBADMSG;
        if (r >= 0)
                r = public_key_spki_sha256(key, ret_sha256);
        if (r < 0)
                return r;
        *ret_key = TAKE_PTR(key);
        return 0;
}

static void free_key(void *key)
{
        public_key_unref(key);
}

static void report(const char *message, void *userdata)
{
        unsigned *errors = userdata;
        (*errors)++;
        log_error("%s", message);
}

int startup_load(const char *folder, Settings **ret)
{
        static const ConfigKeyLoader loader = { .load = load_key, .free = free_key };
        unsigned errors = 0;
        int r = config_load(folder, &loader, report, &errors, ret);
        if (r == -EINVAL)
                log_error(
                        "%u errors in the configuration in %s; sallyport.conf(5) explains the keys",
                        errors, folder);
        else if (r < 0)
                log_error_errno(r, "Cannot load the configuration in %s", folder);
        return r;
}

static bool usable(const char *key, const char *path)
{
        Reason reason;
        if (!path || authorities_check(path, &reason) == 0)
                return true;
        log_error("%s: %s", key, reason.text);
        return false;
}

static bool lists_usable(const Settings *s)
{
        Reason reason;
        Trust *trust = NULL;
        int r = trusted_load(s, &reason, &trust);
        trust_unref(trust);
        if (r < 0)
                log_error("Devices/CRL: %s", reason.text);
        return r >= 0;
}

int startup_check_files(const Settings *s)
{
        ReferenceSet *references = NULL;
        bool good = usable("Devices/CA", s->devices_ca) && lists_usable(s);
        good = usable("Devices/CRLURLCA", s->crl.url ? s->crl.ca : NULL) && good;
        good = usable("Upstream/CA", s->upstream.host ? s->upstream.ca : NULL) && good;
        good = usable("Enrollment/CA", s->enrollment.server ? s->enrollment.ca : NULL) && good;
        int r = references_load((const char *const *)s->reference_values.words,
                                s->reference_values.n, &references);
        reference_set_unref(references);
        return good && r >= 0 ? 0 : -EINVAL;
}
