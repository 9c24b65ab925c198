/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "vectors.h"

#include <stdio.h>

#include "base/str.h"

File file_load(const char *path)
{
        char full[512];
        File f = { .data = malloc(64 * 1024) };

        snprintf(full, sizeof(full), "%s/%s", VECTORS, path);
        FILE *in = fopen(full, "re");
        if (!in || !f.data)
                fail_msg("cannot read %s", full);
        f.len = fread(f.data, 1, 64 * 1024, in);
        fclose(in);
        assert_in_range(f.len, 1, 64 * 1024 - 1);
        return f;
}

void file_done(File *f)
{
        free(f->data);
}

PublicKey *key_load(const char *path)
{
        char full[512];
        PublicKey *k = NULL;

        snprintf(full, sizeof(full), "%s/%s", VECTORS, path);
        assert_int_equal(public_key_load(full, &k), 0);
        return k;
}

PublicKey *key_from_point(const char *curve, Bytes x, Bytes y)
{
        static const struct {
                const char *curve;
                const char *prefix; /* DER up to the point */
                size_t size;
        } kinds[] = {
                { "P-256", "3059301306072a8648ce3d020106082a8648ce3d03010703420004", 32 },
                { "P-384", "3076301006072a8648ce3d020106052b8104002203620004", 48 },
                { "P-521", "30819b301006072a8648ce3d020106052b810400230381860004", 66 },
                { "Ed25519", "302a300506032b6570032100", 32 },
        };
        PublicKey *k = NULL;

        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                uint8_t der[256];
                if (!streq(kinds[i].curve, curve))
                        continue;
                size_t n = strlen(kinds[i].prefix) / 2;
                assert_int_equal(hex_decode(kinds[i].prefix, der, n), 0);
                for (int half = 0; half < (y.len > 0 ? 2 : 1); half++) {
                        Bytes number = half == 0 ? x : y;
                        assert_true(number.len <= kinds[i].size);
                        memset(der + n, 0, kinds[i].size);
                        memcpy(der + n + kinds[i].size - number.len, number.data, number.len);
                        n += kinds[i].size;
                }
                assert_int_equal(public_key_from_spki(BYTES(der, n), &k), 0);
                return k;
        }
        fail_msg("no curve %s", curve);
        return NULL;
}

int verify_with_key(const void *key, int alg, Bytes message, Bytes signature, void *userdata)
{
        return public_key_verify_cose(key, alg, message, signature);
}

int sha256(Bytes data, uint8_t *ret)
{
        return crypto_sha256(data, ret);
}
