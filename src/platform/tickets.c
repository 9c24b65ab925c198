/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/tickets.h"

#include <errno.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <string.h>

#include "base/log.h"
#include "platform/crypto.h"
#include "platform/ossl.h"
#include "platform/sessions.h"

#define RETRY USEC_PER_MIN

typedef struct Key {
        uint8_t name[16], cipher[32], mac[32];
        bool valid;
} Key;

struct Tickets {
        LoopSource *timer;
        Key *keys; /* of now, and the one before; in libcrypto's secure heap */
        Sessions *sessions;
};

static void wipe(Key *k)
{
        OPENSSL_cleanse(k, sizeof(*k));
}

static int make(Key *k)
{
        if (crypto_random(k->name, sizeof(k->name)) < 0 ||
            crypto_random(k->cipher, sizeof(k->cipher)) < 0 ||
            crypto_random(k->mac, sizeof(k->mac)) < 0) {
                wipe(k);
                return -EIO;
        }
        k->valid = true;
        return 0;
}

int tickets_rotate(Tickets *t)
{
        memcpy(&t->keys[1], &t->keys[0], sizeof(Key));
        wipe(&t->keys[0]);
        sessions_rotate(t->sessions);
        int r = make(&t->keys[0]);
        if (r < 0)
                log_error_errno(r, "Cannot make a key for session tickets, trying again");
        loop_timer_arm_relative(t->timer, r < 0 ? RETRY : TICKETS_ROTATION);
        return r;
}

static int on_timer(void *userdata)
{
        tickets_rotate(userdata);
        return 0;
}

int tickets_new(Loop *loop, Tickets **ret)
{
        ossl_secure_heap();
        _cleanup_(tickets_freep) Tickets *t = calloc(1, sizeof(*t));
        if (!t)
                return -ENOMEM;
        t->keys = OPENSSL_secure_zalloc(2 * sizeof(Key));
        if (!t->keys)
                return -ENOMEM;
        int r = sessions_new(&t->sessions);
        if (r >= 0)
                r = loop_add_timer(loop, &t->timer, LOOP_FATAL, on_timer, t);
        if (r >= 0)
                r = tickets_rotate(t);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(t);
        return 0;
}

Tickets *tickets_free(Tickets *t)
{
        if (!t)
                return NULL;
        loop_source_free(t->timer);
        sessions_free(t->sessions);
        OPENSSL_secure_clear_free(t->keys, 2 * sizeof(Key));
        free(t);
        return NULL;
}

Sessions *tickets_sessions(Tickets *t)
{
        return t->sessions;
}

static bool use_mac(const Key *k, EVP_MAC_CTX *mac)
{
        static char digest[] = "SHA256";
        const OSSL_PARAM params[] = {
                OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)k->mac,
                                                  sizeof(k->mac)),
                OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, digest, 0),
                OSSL_PARAM_construct_end(),
        };
        return EVP_MAC_CTX_set_params(mac, params) == 1;
}

int tickets_seal(const Tickets *t, uint8_t name[static 16], uint8_t iv[static 16],
                 EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
        const Key *k = &t->keys[0];
        if (!k->valid || crypto_random(iv, 16) < 0)
                return -1;
        memcpy(name, k->name, sizeof(k->name));
        return EVP_EncryptInit_ex2(cipher, EVP_aes_256_cbc(), k->cipher, iv, NULL) == 1 &&
                               use_mac(k, mac)
                       ? 1
                       : -1;
}

int tickets_open(const Tickets *t, const uint8_t name[static 16], const uint8_t iv[static 16],
                 EVP_CIPHER_CTX *cipher, EVP_MAC_CTX *mac)
{
        for (int i = 0; i < 2; i++) {
                const Key *k = &t->keys[i];
                if (!k->valid || memcmp(k->name, name, sizeof(k->name)) != 0)
                        continue;
                return EVP_DecryptInit_ex2(cipher, EVP_aes_256_cbc(), k->cipher, iv, NULL) == 1 &&
                                       use_mac(k, mac)
                               ? 1 + i
                               : -1;
        }
        return 0;
}
