/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/sessions.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/util.h"
#include "platform/ossl.h"

#define ID_SIZE SSL_MAX_SSL_SESSION_ID_LENGTH

static SSL_CTX *ctx;

static const SSL_CIPHER *cipher(void)
{
        static const unsigned char aes256[] = { 0x13, 0x02 };
        SSL *ssl = SSL_new(ctx);
        const SSL_CIPHER *c = SSL_CIPHER_find(ssl, aes256);
        SSL_free(ssl);
        return c;
}

static Bytes id_of(uint8_t number)
{
        static uint8_t id[ID_SIZE];
        memset(id, number, sizeof(id));
        return BYTES(id, sizeof(id));
}

static int put_of(Sessions *s, uint8_t owner, uint8_t number, int version, const char *data)
{
        const uint8_t peer[SESSIONS_PEER_SIZE] = { owner };
        uint8_t secret[48];
        memset(secret, number, sizeof(secret));
        SSL_SESSION *x = SSL_SESSION_new();
        SSL_SESSION_set1_id(x, id_of(number).data, ID_SIZE);
        SSL_SESSION_set1_id_context(x, (const uint8_t *)"here", 4);
        SSL_SESSION_set_protocol_version(x, version);
        SSL_SESSION_set_cipher(x, cipher());
        SSL_SESSION_set1_master_key(x, secret, sizeof(secret));
        SSL_SESSION_set1_ticket_appdata(x, data, strlen(data));
        SSL_SESSION_set_time_ex(x, 1000);
        SSL_SESSION_set_timeout(x, 77);
        int r = sessions_put(s, x, peer);
        SSL_SESSION_free(x);
        return r;
}

static int put(Sessions *s, uint8_t number, int version, const char *data)
{
        return put_of(s, 1, number, version, data);
}

static bool has(const Sessions *s, uint8_t number)
{
        SSL_SESSION *x = sessions_get(s, id_of(number));
        SSL_SESSION_free(x);
        return x;
}

static void comes_back(void **state)
{
        Sessions *s;
        uint8_t secret[64], expected[48];
        unsigned len;
        void *data;
        size_t data_len;
        assert_int_equal(sessions_new(&s), 0);
        sessions_set_max(s, 10);
        assert_int_equal(put(s, 7, TLS1_3_VERSION, "who"), 0);
        SSL_SESSION *x = sessions_get(s, id_of(7));
        assert_non_null(x);
        memset(expected, 7, sizeof(expected));
        assert_int_equal(SSL_SESSION_get_master_key(x, secret, sizeof(secret)), 48);
        assert_memory_equal(secret, expected, 48);
        assert_memory_equal(SSL_SESSION_get_id(x, &len), id_of(7).data, ID_SIZE);
        assert_memory_equal(SSL_SESSION_get0_id_context(x, &len), "here", 4);
        assert_int_equal(len, 4);
        assert_ptr_equal(SSL_SESSION_get0_cipher(x), cipher());
        assert_int_equal(SSL_SESSION_get_protocol_version(x), TLS1_3_VERSION);
        assert_int_equal(SSL_SESSION_get_time_ex(x), 1000);
        assert_int_equal(SSL_SESSION_get_timeout(x), 77);
        assert_int_equal(SSL_SESSION_get0_ticket_appdata(x, &data, &data_len), 1);
        assert_int_equal(data_len, 3);
        assert_memory_equal(data, "who", 3);
        assert_null(SSL_SESSION_get0_peer(x));
        SSL_SESSION_free(x);
        assert_true(has(s, 7)); /* still */
        assert_false(has(s, 8));
        assert_null(sessions_get(s, BYTES(id_of(7).data, ID_SIZE - 1)));
        sessions_free(s);
}

static void not_everything(void **state)
{
        Sessions *s;
        assert_int_equal(sessions_new(&s), 0);
        assert_int_equal(put(s, 1, TLS1_3_VERSION, "who"), 0);
        assert_false(has(s, 1)); /* none, before there is a bound */
        sessions_set_max(s, 10);
        assert_int_equal(put(s, 1, TLS1_2_VERSION, "who"), -EINVAL);
        assert_int_equal(put(s, 1, TLS1_3_VERSION, ""), -EINVAL);
        assert_int_equal(put(s, 1, TLS1_3_VERSION, "who"), 0);
        assert_int_equal(put(s, 1, TLS1_3_VERSION, "else"), -EEXIST);
        sessions_free(s);
}

static void oldest_make_room(void **state)
{
        Sessions *s;
        assert_int_equal(sessions_new(&s), 0);
        sessions_set_max(s, 3);
        for (uint8_t i = 1; i <= 2; i++)
                assert_int_equal(put(s, i, TLS1_3_VERSION, "who"), 0);
        sessions_rotate(s);
        for (uint8_t i = 3; i <= 4; i++)
                assert_int_equal(put(s, i, TLS1_3_VERSION, "who"), 0);
        for (uint8_t i = 1; i <= 4; i++)
                assert_int_equal(has(s, i), i > 1);
        sessions_set_max(s, 1);
        for (uint8_t i = 1; i <= 4; i++)
                assert_int_equal(has(s, i), i > 3);
        sessions_free(s);
}

/* A peer that comes and comes takes the room of its own sessions. */
static void a_share_for_each(void **state)
{
        Sessions *s;
        assert_int_equal(sessions_new(&s), 0);
        sessions_set_max(s, SESSIONS_PEER_MAX + 8);
        assert_int_equal(put_of(s, 2, 1, TLS1_3_VERSION, "who"), 0);
        for (uint8_t i = 2; i <= 100; i++) {
                assert_int_equal(put_of(s, 1, i, TLS1_3_VERSION, "else"), 0);
                if (i == 50)
                        sessions_rotate(s);
        }
        assert_true(has(s, 1));
        for (uint8_t i = 2; i <= 100; i++)
                assert_int_equal(has(s, i), i > 100 - SESSIONS_PEER_MAX);
        sessions_rotate(s);
        assert_false(has(s, 1));
        assert_int_equal(put_of(s, 2, 1, TLS1_3_VERSION, "who"), 0);
        assert_true(has(s, 1));
        sessions_free(s);
}

static void rotation(void **state)
{
        Sessions *s;
        assert_int_equal(sessions_new(&s), 0);
        sessions_set_max(s, 10);
        assert_int_equal(put(s, 1, TLS1_3_VERSION, "who"), 0);
        sessions_rotate(s);
        assert_int_equal(put(s, 2, TLS1_3_VERSION, "who"), 0);
        assert_true(has(s, 1) && has(s, 2));
        sessions_rotate(s);
        assert_true(!has(s, 1) && has(s, 2));
        sessions_rotate(s);
        assert_false(has(s, 2));
        sessions_free(s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(comes_back),       cmocka_unit_test(not_everything),
                cmocka_unit_test(oldest_make_room), cmocka_unit_test(a_share_for_each),
                cmocka_unit_test(rotation),
        };
        ctx = SSL_CTX_new(TLS_server_method());
        int r = cmocka_run_group_tests(tests, NULL, NULL);
        SSL_CTX_free(ctx);
        return r;
}
