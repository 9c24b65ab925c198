/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <tss2/tss2_mu.h>

#include "base/str.h"
#include "platform/file.h"
#include "platform/identity-internal.h"

#define FORMAT   "sallyport-identity-1"
#define FILE_MAX ((size_t)16 * 1024)

char *identity_path(const char *directory, const char *name)
{
        char *path = NULL;
        return asprintf(&path, "%s/%s", directory, name) < 0 ? NULL : path;
}

static int write_file(const char *directory, const char *name, Bytes content, Reason *reason)
{
        _cleanup_free_ char *path = identity_path(directory, name);
        int r = path ? file_write_atomic(path, content, 0600) : -ENOMEM;
        if (r < 0)
                return reason_set(reason, r, "Cannot write %s/%s: %s", directory, name,
                                  strerror(-r));
        return 0;
}

static int write_public(const char *directory, const char *name, const TPM2B_PUBLIC *pub,
                        Reason *reason)
{
        uint8_t bytes[sizeof(TPM2B_PUBLIC)];
        size_t len = 0;
        if (Tss2_MU_TPM2B_PUBLIC_Marshal(pub, bytes, sizeof(bytes), &len) != TSS2_RC_SUCCESS)
                return reason_set(reason, -EIO, "Cannot marshal a key");
        return write_file(directory, name, BYTES(bytes, len), reason);
}

static int write_blob(const char *directory, const char *pub_name, const char *priv_name,
                      const IdentityBlob *blob, Reason *reason)
{
        uint8_t priv[sizeof(TPM2B_PRIVATE)];
        size_t len = 0;
        if (Tss2_MU_TPM2B_PRIVATE_Marshal(&blob->priv, priv, sizeof(priv), &len) != TSS2_RC_SUCCESS)
                return reason_set(reason, -EIO, "Cannot marshal a key");
        int r = write_public(directory, pub_name, &blob->pub, reason);
        return r < 0 ? r : write_file(directory, priv_name, BYTES(priv, len), reason);
}

static int write_settings(const char *directory, const IdentityFiles *f, Reason *reason)
{
        char index[16];
        _cleanup_free_ char *pem = p256_point_to_pem(f->operator_point);
        _cleanup_free_ char *pcrs = pcrs_format(f->pcrs), *text = NULL;
        snprintf(index, sizeof(index), "0x%08x", f->counter_index);
        if (!pem || !pcrs)
                return reason_set(reason, -EIO, "The operator key is no P-256 public key");
        json_t *root = json_pack("{s:s, s:s, s:s, s:I, s:s}", "format", FORMAT, "pcrs", pcrs,
                                 "counter-index", index, "state-counter-start",
                                 (json_int_t)f->state_start, "operator-key", pem);
        text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
        json_decref(root);
        if (!text)
                return reason_set(reason, -ENOMEM, "Out of memory");
        return write_file(directory, "identity.json", bytes_from_str(text), reason);
}

int identity_files_write(const char *directory, const IdentityFiles *f, Reason *reason)
{
        int r = write_blob(directory, "identity.pub", "identity.priv", &f->key, reason);
        if (r == 0)
                r = write_blob(directory, "ak.pub", "ak.priv", &f->ak, reason);
        if (r == 0)
                r = write_blob(directory, "secret.pub", "secret.priv", &f->secret, reason);
        if (r == 0)
                r = write_public(directory, "storage.pub", &f->storage, reason);
        if (r == 0)
                r = write_settings(directory, f, reason);
        return r;
}

static int read_file(const char *directory, const char *name, uint8_t **ret, size_t *ret_len,
                     Reason *reason)
{
        _cleanup_free_ char *path = identity_path(directory, name);
        int r = path ? file_read(path, FILE_MAX, ret, ret_len) : -ENOMEM;
        if (r < 0)
                return reason_set(reason, r, "Cannot read %s/%s: %s", directory, name,
                                  strerror(-r));
        return 0;
}

static int read_public(const char *directory, const char *name, TPM2B_PUBLIC *ret, Reason *reason)
{
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t len, used = 0;
        TPM2B_PUBLIC pub = { 0 };
        int r = read_file(directory, name, &bytes, &len, reason);
        if (r < 0)
                return r;
        if (Tss2_MU_TPM2B_PUBLIC_Unmarshal(bytes, len, &used, &pub) != TSS2_RC_SUCCESS ||
            used != len)
                return reason_set(reason, -EBADMSG, "%s/%s is damaged", directory, name);
        *ret = pub;
        return 0;
}

static int read_private(const char *directory, const char *name, TPM2B_PRIVATE *ret, Reason *reason)
{
        _cleanup_free_ uint8_t *bytes = NULL;
        size_t len, used = 0;
        TPM2B_PRIVATE priv = { 0 };
        int r = read_file(directory, name, &bytes, &len, reason);
        if (r < 0)
                return r;
        if (Tss2_MU_TPM2B_PRIVATE_Unmarshal(bytes, len, &used, &priv) != TSS2_RC_SUCCESS ||
            used != len)
                return reason_set(reason, -EBADMSG, "%s/%s is damaged", directory, name);
        *ret = priv;
        return 0;
}

static int read_blob(const char *directory, const char *pub_name, const char *priv_name,
                     IdentityBlob *ret, Reason *reason)
{
        int r = read_public(directory, pub_name, &ret->pub, reason);
        return r < 0 ? r : read_private(directory, priv_name, &ret->priv, reason);
}

static int read_settings_object(json_t *root, IdentityFiles *ret)
{
        const char *format, *pcrs, *index, *key;
        int used = 0;
        json_int_t start;
        if (json_unpack_ex(root, NULL, JSON_STRICT, "{s:s, s:s, s:s, s:I, s:s}", "format", &format,
                           "pcrs", &pcrs, "counter-index", &index, "state-counter-start", &start,
                           "operator-key", &key) < 0 ||
            !streq(format, FORMAT) || pcrs_parse(pcrs, &ret->pcrs) < 0 ||
            sscanf(index, "0x%8x%n", &ret->counter_index, &used) != 1 || index[used] ||
            p256_point_from_pem(key, ret->operator_point) < 0)
                return -EBADMSG;
        ret->state_start = (uint64_t)start;
        return start >= 0 ? 0 : -EBADMSG;
}

static int read_settings(const char *directory, IdentityFiles *ret, Reason *reason)
{
        _cleanup_free_ uint8_t *data = NULL;
        size_t len;
        int r = read_file(directory, "identity.json", &data, &len, reason);
        if (r < 0)
                return r;
        json_t *root = json_loadb((const char *)data, len, JSON_REJECT_DUPLICATES, NULL);
        r = root ? read_settings_object(root, ret) : -EBADMSG;
        json_decref(root);
        if (r < 0)
                return reason_set(reason, r, "%s/identity.json is damaged", directory);
        return 0;
}

int identity_files_read(const char *directory, IdentityFiles *ret, Reason *reason)
{
        int r = read_settings(directory, ret, reason);
        if (r == -ENOENT)
                return reason_set(reason, r,
                                  "There is no identity in %s: make one with \"sallyportctl "
                                  "identity init\"",
                                  directory);
        if (r == 0)
                r = read_blob(directory, "identity.pub", "identity.priv", &ret->key, reason);
        if (r == 0)
                r = read_blob(directory, "ak.pub", "ak.priv", &ret->ak, reason);
        if (r == 0)
                r = read_blob(directory, "secret.pub", "secret.priv", &ret->secret, reason);
        if (r == 0)
                r = read_public(directory, "storage.pub", &ret->storage, reason);
        return r;
}
