/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "platform/crypto.h"
#include "platform/identity-internal.h"
#include "platform/owner.h"
#include "platform/tpm-templates.h"

/* The random bytes behind identity_secret(): the TPM keeps them, and we forget them. */
static int create_secret(Tpm *tpm, ESYS_TR storage, const uint8_t *policy, IdentityBlob *ret,
                         Reason *reason)
{
        TPM2B_PUBLIC template = template_secret(policy);
        TPM2B_SENSITIVE_DATA sealed = { .size = IDENTITY_SECRET_SIZE };
        if (crypto_random(sealed.buffer, sealed.size) < 0)
                return reason_set(reason, -EIO, "No randomness");
        int r = identity_tpm_create_key(tpm, storage, &template, &sealed, ret, reason);
        explicit_bzero(&sealed, sizeof(sealed));
        return r;
}

static int create_keys(Tpm *tpm, ESYS_TR storage, const IdentityParams *params, IdentityFiles *ret,
                       Reason *reason)
{
        uint8_t policy[POLICY_DIGEST_SIZE];
        PcrValues unused;
        if (policy_authorize_digest(params->operator_point, policy) < 0)
                return reason_set(reason, -EIO, "Cannot compute the key's policy");
        TPM2B_PUBLIC key = template_identity(policy);
        int r = identity_tpm_create_key(tpm, storage, &key, NULL, &ret->key, reason);
        if (r == 0)
                r = identity_tpm_create_key(tpm, storage, &template_attestation, NULL, &ret->ak,
                                            reason);
        if (r == 0)
                r = create_secret(tpm, storage, policy, &ret->secret, reason);
        if (r == 0) /* does the TPM have them at all? */
                r = identity_tpm_read_pcrs(tpm, params->pcrs, &unused, reason);
        return r;
}

/* From here on the storage root key stands for this TPM. */
static int create_in_tpm(const IdentityParams *params, IdentityFiles *ret, Reason *reason)
{
        _cleanup_(tpm_freep) Tpm *tpm = NULL;
        ESYS_TR storage = ESYS_TR_NONE;
        uint64_t unused;
        int r = tpm_open(params->tcti, &tpm, reason);
        if (r == -ENOENT) /* its device or socket, as in identity_open() */
                r = -ENODEV;
        if (r == 0)
                r = identity_tpm_create_storage(tpm, &storage, &ret->storage, reason);
        if (r < 0)
                return r;
        r = tpm_session_start(tpm, storage, reason);
        if (r == 0)
                r = identity_tpm_create_counter(tpm, IDENTITY_COUNTER_INDEX, &unused, reason);
        if (r == 0)
                r = identity_tpm_create_counter(tpm, IDENTITY_STATE_INDEX, &ret->state_start,
                                                reason);
        if (r == 0)
                r = create_keys(tpm, storage, params, ret, reason);
        identity_tpm_flush(tpm, storage);
        return r;
}

static int fail_path(Reason *reason, const char *what, const char *path)
{
        int error = -errno;
        return reason_set(reason, error, "Cannot %s %s: %s", what, path, strerror(-error));
}

/* Left over when an earlier attempt was interrupted; it was never in use. */
static void remove_staging(const char *directory)
{
        static const char *const names[] = { "identity.pub", "identity.priv", "ak.pub",
                                             "ak.priv",      "secret.pub",    "secret.priv",
                                             "storage.pub",  "identity.json", "policies" };
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                _cleanup_free_ char *path = identity_path(directory, names[i]);
                if (path)
                        remove(path);
        }
        rmdir(directory);
}

/* The directory appears under its name whole or not at all. What was there before is kept. */
static int put_in_place(const char *staging, const char *directory, const char *previous,
                        Reason *reason)
{
        if (renameat2(AT_FDCWD, staging, AT_FDCWD, directory, RENAME_NOREPLACE) == 0)
                return 0;
        if (errno != EEXIST)
                return fail_path(reason, "create", directory);
        if (access(previous, F_OK) == 0)
                return reason_set(reason, -EEXIST,
                                  "%s is there already from an earlier --force: move it away",
                                  previous);
        if (renameat2(AT_FDCWD, staging, AT_FDCWD, directory, RENAME_EXCHANGE) < 0)
                return fail_path(reason, "replace", directory);
        if (rename(staging, previous) < 0)
                return fail_path(reason, "set the old identity aside as", previous);
        return 0;
}

static int write_in_place(const char *state, const IdentityFiles *files, Reason *reason)
{
        _cleanup_free_ char *directory = identity_path(state, "identity");
        _cleanup_free_ char *staging = identity_path(state, "identity.new");
        _cleanup_free_ char *previous = identity_path(state, "identity.previous");
        if (!directory || !staging || !previous)
                return reason_set(reason, -ENOMEM, "Out of memory");
        if (mkdir(state, 0700) < 0 && errno != EEXIST)
                return fail_path(reason, "create", state);
        _cleanup_owner_ Owner owner = { 0 };
        int r = owner_begin(state, &owner, reason);
        if (r < 0)
                return r;
        remove_staging(staging);
        if (mkdir(staging, 0700) < 0)
                return fail_path(reason, "create", staging);
        r = identity_files_write(staging, files, reason);
        if (r == 0)
                r = put_in_place(staging, directory, previous, reason);
        if (r < 0)
                remove_staging(staging);
        return r;
}

int identity_create(const IdentityParams *params, Reason *reason)
{
        _cleanup_free_ char *directory = identity_path(params->state_directory, "identity");
        if (!directory)
                return reason_set(reason, -ENOMEM, "Out of memory");
        if (access(directory, F_OK) == 0 && !params->force)
                return reason_set(reason, -EEXIST,
                                  "There is an identity in %s already; --force makes a new one and "
                                  "keeps the old files as %s.previous",
                                  directory, directory);
        IdentityFiles files = { .pcrs = params->pcrs, .counter_index = IDENTITY_COUNTER_INDEX };
        memcpy(files.operator_point, params->operator_point, P256_POINT_SIZE);
        int r = create_in_tpm(params, &files, reason);
        return r < 0 ? r : write_in_place(params->state_directory, &files, reason);
}
