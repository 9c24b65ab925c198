/* SPDX-License-Identifier: GPL-3.0-or-later */
/* sallyportctl identity endorsement, activate: what a CA or a verifier needs to know that the keys
 * are in a TPM of a maker that it trusts. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/reader.h"
#include "base/str.h"
#include "cli/command.h"
#include "cli/machine.h"
#include "cli/view.h"
#include "platform/crypto.h"
#include "platform/file.h"
#include "platform/identity.h"

#define FILE_MAX ((size_t)4096)
/* What tpm2_makecredential writes: a magic number, a version, TPM2B_ID_OBJECT,
 * TPM2B_ENCRYPTED_SECRET. */
#define MAGIC   0xbadcc0deU
#define VERSION 1

static int show(const CommandContext *c, const IdentityDescription *d, const char *key,
                const char *certificate)
{
        char name[2 * sizeof(d->ak_name) + 1];
        hex_encode(BYTES(d->ak_name, sizeof(d->ak_name)), name);
        if (c->json) {
                json_t *view =
                        json_pack("{s:s, s:s, s:s*}", "attestation-key-name", name,
                                  "endorsement-key", key, "endorsement-certificate", certificate);
                int r = view ? view_json(view) : -ENOMEM;
                json_decref(view);
                return r < 0 ? COMMAND_FAILED : COMMAND_OK;
        }
        printf("Attestation key's name  %s\n", name);
        printf("Endorsement key\n%s", key);
        printf("Endorsement certificate%s\n%s", certificate ? "" : "  none in this TPM",
               strempty(certificate));
        return COMMAND_OK;
}

int command_identity_endorsement(const CommandContext *c, int argc, char **argv)
{
        Reason reason;
        IdentityDescription d;
        _cleanup_(identity_freep) Identity *id = NULL;
        _cleanup_free_ IdentityEndorsement *e = calloc(1, sizeof(*e));
        _cleanup_free_ char *key = NULL, *certificate = NULL;
        bool alone = argc == 2 && (streq(argv[1], "--key") || streq(argv[1], "--certificate"));
        if (!e || (argc != 1 && !alone))
                return command_usage("identity endorsement [--key | --certificate]");
        int r = machine_identity(c, &id, &reason);
        if (r == 0)
                r = identity_endorsement(id, e, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        key = crypto_pem("PUBLIC KEY", BYTES(e->spki, e->spki_len));
        if (e->certificate_len > 0)
                certificate = crypto_pem("CERTIFICATE", BYTES(e->certificate, e->certificate_len));
        if (!key || identity_describe(id, &d) < 0)
                return COMMAND_FAILED;
        if (!alone)
                return show(c, &d, key, certificate);
        if (streq(argv[1], "--key"))
                return command_output(NULL, key);
        if (certificate)
                return command_output(NULL, certificate);
        reason_set(&reason, -ENOENT, "There is no endorsement certificate in this TPM");
        return command_fail(-ENOENT, &reason);
}

static int read_credential(const char *path, uint8_t **ret_data, Bytes *ret_credential,
                           Bytes *ret_secret, Reason *reason)
{
        size_t len;
        int r = file_read(path, FILE_MAX, ret_data, &len);
        if (r < 0)
                return reason_set(reason, r, "Cannot read %s: %s", path, strerror(-r));
        Reader in = reader_new(BYTES(*ret_data, len));
        uint32_t magic = reader_u32(&in), version = reader_u32(&in);
        *ret_credential = reader_bytes(&in, reader_u16(&in));
        *ret_secret = reader_bytes(&in, reader_u16(&in));
        if (!reader_done(&in) || magic != MAGIC || version != VERSION)
                return reason_set(reason, -EBADMSG,
                                  "%s is no credential as tpm2_makecredential writes it", path);
        return 0;
}

int command_identity_activate(const CommandContext *c, int argc, char **argv)
{
        Reason reason;
        Bytes credential, secret;
        uint8_t found[IDENTITY_CREDENTIAL_MAX];
        char hex[2 * IDENTITY_CREDENTIAL_MAX + 2];
        size_t len;
        _cleanup_free_ uint8_t *data = NULL;
        _cleanup_(identity_freep) Identity *id = NULL;
        if (argc != 2)
                return command_usage("identity activate FILE");
        int r = read_credential(argv[1], &data, &credential, &secret, &reason);
        if (r == 0)
                r = machine_identity(c, &id, &reason);
        if (r == 0)
                r = identity_activate(id, credential, secret, found, &len, &reason);
        if (r < 0)
                return command_fail(r, &reason);
        hex_encode(BYTES(found, len), hex);
        puts(hex);
        explicit_bzero(found, sizeof(found));
        explicit_bzero(hex, sizeof(hex));
        return COMMAND_OK;
}
