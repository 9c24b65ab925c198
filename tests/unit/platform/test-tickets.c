/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <errno.h>
#include <openssl/evp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "platform/ossl.h"
#include "platform/ticket-data.h"
#include "platform/tickets.h"

OSSL_CLEANUP(EVP_CIPHER_CTX, EVP_CIPHER_CTX_free)
OSSL_CLEANUP(EVP_MAC_CTX, EVP_MAC_CTX_free)
OSSL_CLEANUP(EVP_MAC, EVP_MAC_free)

/* ---- what is in a ticket ---- */

static TicketData sample(size_t n)
{
        TicketData d = { .proven = 0x0102030405060708, .chain = { .n = n, .not_after = 77 } };
        for (size_t i = 0; i < n; i++) {
                memset(d.chain.links[i].authority, (int)(0x10 + i), PEER_ID_SIZE);
                memset(d.chain.links[i].certificate, (int)(0x80 + i), PEER_ID_SIZE);
        }
        return d;
}

static void data_comes_back(void **state)
{
        for (size_t n = 1; n <= PEER_CHAIN_MAX; n++) {
                _cleanup_buf_ Buf b = BUF_INIT(TICKET_DATA_MAX);
                TicketData in = sample(n), out = { 0 };
                assert_int_equal(ticket_data_write(&in, NULL, &b), 0);
                assert_true(ticket_data_read(buf_view(&b), &out, NULL));
                assert_memory_equal(&in, &out, sizeof(in));
        }
}

static void data_is_read_strictly(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(TICKET_DATA_MAX + 1);
        TicketData in = sample(2), out = { .proven = 9 };
        assert_int_equal(ticket_data_write(&in, NULL, &b), 0);
        Bytes v = buf_view(&b);
        for (size_t cut = 0; cut < v.len; cut++)
                assert_false(ticket_data_read(BYTES(v.data, cut), &out, NULL));
        uint8_t copy[TICKET_DATA_MAX + 1];
        memcpy(copy, v.data, v.len);
        copy[v.len] = 0;
        assert_false(ticket_data_read(BYTES(copy, v.len + 1), &out, NULL));
        copy[0] = 2; /* another format */
        assert_false(ticket_data_read(BYTES(copy, v.len), &out, NULL));
        copy[0] = 1;
        copy[17] = 0; /* no link */
        assert_false(ticket_data_read(BYTES(copy, 18), &out, NULL));
        copy[17] = PEER_CHAIN_MAX + 1;
        assert_false(ticket_data_read(BYTES(copy, sizeof(copy)), &out, NULL));
        copy[17] = 255;
        assert_false(ticket_data_read(BYTES(copy, sizeof(copy)), &out, NULL));
        assert_int_equal(out.proven, 9);
}

static PeerCertificate sample_peer(void)
{
        PeerCertificate p = { .n_names = PEER_NAMES_MAX, .not_before = 5, .not_after = 6 };
        memset(p.common_name, 'c', PEER_NAME_MAX);
        for (size_t i = 0; i < PEER_NAMES_MAX; i++)
                memset(p.names[i], (int)('a' + i), PEER_NAME_MAX - i);
        memset(p.spki_sha256, 0xee, sizeof(p.spki_sha256));
        memset(p.serial, 'f', sizeof(p.serial) - 1);
        memset(p.issuer, 'i', sizeof(p.issuer) - 1);
        return p;
}

static void peer_comes_back(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(TICKET_DATA_MAX + TICKET_PEER_MAX);
        TicketData in = sample(PEER_CHAIN_MAX), out = { 0 };
        PeerCertificate p = sample_peer(), read = { .n_names = 99 };
        assert_int_equal(ticket_data_write(&in, &p, &b), 0);
        Bytes v = buf_view(&b);
        for (size_t cut = 0; cut < v.len; cut++)
                assert_false(ticket_data_read(BYTES(v.data, cut), &out, &read));
        assert_int_equal(read.n_names, 99);
        assert_true(ticket_data_read(v, &out, &read));
        assert_memory_equal(&in, &out, sizeof(in));
        p.chain = in.chain;
        assert_memory_equal(&p, &read, sizeof(p));
        /* Whoever does not ask for it hears the rest; who asks where there is none is told. */
        assert_true(ticket_data_read(v, &out, NULL));
        buf_clear(&b);
        assert_int_equal(ticket_data_write(&in, NULL, &b), 0);
        assert_false(ticket_data_read(buf_view(&b), &out, &read));
}

static void names_are_read_strictly(void **state)
{
        _cleanup_buf_ Buf b = BUF_INIT(TICKET_DATA_MAX + TICKET_PEER_MAX);
        TicketData in = sample(1), out;
        PeerCertificate p = { .common_name = "dev1" }, read;
        assert_int_equal(ticket_data_write(&in, &p, &b), 0);
        uint8_t copy[256];
        Bytes v = buf_view(&b);
        memcpy(copy, v.data, v.len);
        copy[v.len - 2] = 0; /* "dev1" ends before the number of names */
        assert_false(ticket_data_read(BYTES(copy, v.len), &out, &read));
        memcpy(copy, v.data, v.len);
        copy[v.len - 1] = 1; /* a name that is not there */
        assert_false(ticket_data_read(BYTES(copy, v.len), &out, &read));
        copy[v.len - 1] = PEER_NAMES_MAX + 1;
        assert_false(ticket_data_read(BYTES(copy, v.len), &out, &read));
}

/* ---- the keys ---- */

typedef struct Sealed {
        uint8_t name[16], iv[16], text[64], mac[32];
        int len;
} Sealed;

static EVP_MAC_CTX *new_mac(void)
{
        _cleanup_(EVP_MAC_freep) EVP_MAC *mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
        EVP_MAC_CTX *ctx = EVP_MAC_CTX_new(mac);
        assert_non_null(ctx);
        return ctx;
}

static void finish_mac(EVP_MAC_CTX *mac, const Sealed *s, uint8_t ret[static 32])
{
        size_t len = 0;
        assert_int_equal(EVP_MAC_init(mac, NULL, 0, NULL), 1);
        assert_int_equal(EVP_MAC_update(mac, s->text, (size_t)s->len), 1);
        assert_int_equal(EVP_MAC_final(mac, ret, &len, 32), 1);
        assert_int_equal(len, 32);
}

static void seal(const Tickets *t, const char *text, Sealed *s)
{
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
        _cleanup_(EVP_MAC_CTX_freep) EVP_MAC_CTX *mac = new_mac();
        int tail = 0;
        assert_int_equal(tickets_seal(t, s->name, s->iv, cipher, mac), 1);
        EVP_EncryptUpdate(cipher, s->text, &s->len, (const uint8_t *)text, (int)strlen(text));
        EVP_EncryptFinal_ex(cipher, s->text + s->len, &tail);
        s->len += tail;
        finish_mac(mac, s, s->mac);
}

/* What tickets_open() says; when it opens, the text has to be right. */
static int unseal(const Tickets *t, const char *text, const Sealed *s)
{
        _cleanup_(EVP_CIPHER_CTX_freep) EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
        _cleanup_(EVP_MAC_CTX_freep) EVP_MAC_CTX *mac = new_mac();
        uint8_t out[sizeof(s->text) + 16], check[32];
        int len = 0, tail = 0;
        int r = tickets_open(t, s->name, s->iv, cipher, mac);
        if (r <= 0)
                return r;
        finish_mac(mac, s, check);
        assert_memory_equal(check, s->mac, sizeof(check));
        EVP_DecryptUpdate(cipher, out, &len, s->text, s->len);
        assert_int_equal(EVP_DecryptFinal_ex(cipher, out + len, &tail), 1);
        assert_int_equal(len + tail, strlen(text));
        assert_memory_equal(out, text, strlen(text));
        return r;
}

static void keys_rotate(void **state)
{
        Loop *loop;
        Tickets *t, *other;
        Sealed a, b;
        assert_int_equal(loop_new(&loop), 0);
        assert_int_equal(tickets_new(loop, &t), 0);
        assert_int_equal(tickets_new(loop, &other), 0);
        seal(t, "the session", &a);
        seal(t, "the session", &b);
        assert_memory_not_equal(a.iv, b.iv, sizeof(a.iv));
        assert_memory_not_equal(a.text, b.text, (size_t)a.len);
        assert_memory_equal(a.name, b.name, sizeof(a.name));
        assert_int_equal(unseal(t, "the session", &a), 1);
        assert_int_equal(unseal(other, "the session", &a), 0);
        assert_int_equal(tickets_rotate(t), 0);
        assert_int_equal(unseal(t, "the session", &a), 2);
        seal(t, "another", &b);
        assert_memory_not_equal(a.name, b.name, sizeof(a.name));
        assert_int_equal(unseal(t, "another", &b), 1);
        assert_int_equal(tickets_rotate(t), 0);
        assert_int_equal(unseal(t, "the session", &a), 0);
        assert_int_equal(unseal(t, "another", &b), 2);
        tickets_free(t);
        tickets_free(other);
        loop_free(loop);
}

/* A name of zeros is not that of a key that is not there yet. */
static void no_key_before_the_first(void **state)
{
        Loop *loop;
        Tickets *t;
        Sealed s = { 0 };
        assert_int_equal(loop_new(&loop), 0);
        assert_int_equal(tickets_new(loop, &t), 0);
        assert_int_equal(unseal(t, "", &s), 0);
        tickets_free(t);
        loop_free(loop);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(data_comes_back), cmocka_unit_test(data_is_read_strictly),
                cmocka_unit_test(peer_comes_back), cmocka_unit_test(names_are_read_strictly),
                cmocka_unit_test(keys_rotate),     cmocka_unit_test(no_key_before_the_first),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
