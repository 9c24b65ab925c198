/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "attest-bench.h"

#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include "base/str.h"
#include "domain/relay.h"

World world;

int enforcer_apply(Enforcer *e, const DeviceState *d, EnforcerDone done, void *userdata)
{
        if (!done)
                return 0;
        if (world.apply_error < 0)
                return world.apply_error;
        assert_true(world.n_waiters < WAITERS);
        world.waiters[world.n_waiters++] = (Waiter){ done, userdata };
        return 0;
}

void enforcer_cancel(Enforcer *e, const void *userdata)
{
        for (size_t i = 0; i < world.n_waiters; i++)
                if (world.waiters[i].userdata == userdata) {
                        world.waiters[i--] = world.waiters[--world.n_waiters];
                        world.cancelled++;
                }
}

void bench_commit(int error)
{
        while (world.n_waiters > 0) {
                Waiter w = world.waiters[--world.n_waiters];
                w.done(error, w.userdata);
        }
}

int identity_sign(Identity *id, const uint8_t digest[static POLICY_DIGEST_SIZE],
                  uint8_t ret[static P256_SIGNATURE_SIZE], Reason *reason)
{
        if (world.hold) {
                world.held[world.n_held++] = fiber_current();
                fiber_yield();
        }
        world.signatures++;
        memset(ret, 0x51, P256_SIGNATURE_SIZE);
        return world.sign_error;
}

void bench_tpm_answers(void)
{
        world.hold = false;
        for (size_t i = 0; i < world.n_held; i++)
                fiber_resume(world.held[i]);
        world.n_held = 0;
}

int identity_quote(Identity *id, Bytes nonce, IdentityAttestation *ret, Reason *reason)
{
        memcpy(world.quoted, nonce.data, nonce.len);
        *ret = (IdentityAttestation){ .attest_len = 8, .signature_len = 8 };
        return world.sign_error;
}

int identity_certify(Identity *id, Bytes nonce, IdentityAttestation *ret, Reason *reason)
{
        *ret = (IdentityAttestation){ .attest_len = 8, .signature_len = 8 };
        return 0;
}

int identity_describe(const Identity *id, IdentityDescription *ret)
{
        *ret = (IdentityDescription){ .public_area_len = 8 };
        return 0;
}

int identity_chain_der(const Identity *id, uint8_t ***ret, size_t **ret_lens, size_t *ret_n)
{
        *ret = NULL;
        *ret_lens = NULL;
        *ret_n = 0;
        return 0;
}

int store_append(Store *s, const StoreRecord *record, StoreDone done, void *userdata, StoreOp **ret)
{
        assert_int_equal(record->kind, STORE_REPORT);
        assert_string_equal(record->content_type, SALLYPORT_MEDIA_CMW_COSE);
        if (world.store_error < 0)
                return world.store_error;
        assert_null(world.stored);
        world.stored = done;
        world.stored_userdata = userdata;
        if (world.disk_error < 0)
                return 0;
        assert_true(world.n_reports < ELEMENTSOF(world.reports));
        Buf *b = &world.reports[world.n_reports++];
        *b = BUF_INIT(RELAY_SIZE_MAX);
        return buf_append(b, record->payload);
}

/* The store tells how it went some time after it was asked. */
static bool store_answers(void)
{
        StoreDone done = world.stored;
        if (!done)
                return false;
        world.stored = NULL;
        done(world.disk_error, 1, world.stored_userdata);
        return true;
}

int uplink_subscribe(Uplink *u, const char *filter, UplinkHandler handler, void *userdata)
{
        assert_string_equal(filter, "gateway/rats/nonce");
        world.on_nonce = handler;
        world.on_nonce_userdata = userdata;
        return 0;
}

const FixtureComponent bench_known[1] = { { "BL", 0x61, "1.0", 0x71, 0 } };
const FixtureToken bench_good = { 0x5a, 0x11, 0x22, -1, 0x3000, bench_known, 1, false };

static void write_references(const char *path, const FixtureCorim *file)
{
        _cleanup_buf_ Buf corim = BUF_INIT(FIXTURE_MAX);
        fixture_corim(file, &corim);
        FILE *f = fopen(path, "we");
        assert_non_null(f);
        assert_int_equal(fwrite(buf_view(&corim).data, 1, buf_len(&corim), f), buf_len(&corim));
        fclose(f);
}

void bench_references(Bench *b, const FixtureCorim *files, size_t n)
{
        const char *paths[] = { b->references[0], b->references[1] };
        assert_true(n <= ELEMENTSOF(paths));
        for (size_t i = 0; i < n; i++)
                write_references(paths[i], &files[i]);
        assert_int_equal(attest_load_references(b->gateway.attest, paths, n), 0);
}

static void make_files(Bench *b)
{
        for (size_t i = 0; i < ELEMENTSOF(b->references); i++) {
                snprintf(b->references[i], sizeof(b->references[i]), "/tmp/test-attest-XXXXXX");
                int fd = mkstemp(b->references[i]);
                assert_true(fd >= 0);
                close(fd);
        }
}

static void make_key(Bench *b)
{
        uint8_t *der = NULL;
        b->key = EVP_EC_gen("P-256");
        int len = i2d_PUBKEY(b->key, &der);
        assert_true(len > 0);
        assert_int_equal(public_key_from_spki(BYTES(der, (size_t)len), &b->public_key), 0);
        OPENSSL_free(der);
}

static void make_devices(Bench *b)
{
        b->class = (Class){ .name = (char *)"meters",
                            .attestation = ATTESTATION_PSA,
                            .verdict_lifetime = LIFETIME };
        for (size_t i = 0; i < DEVICES; i++) {
                Device *d = &b->devices[i];
                snprintf(b->names[i], sizeof(b->names[i]), "dev%02zu", i);
                *d = (Device){ .name = b->names[i],
                               .class = &b->class,
                               .certificate_name = b->names[i],
                               .has_instance_id = true,
                               .attestation_key = b->public_key };
                memset(d->instance_id, 0x11, sizeof(d->instance_id));
                d->instance_id[0] = 1;
        }
}

int bench_setup(void **state)
{
        Bench *b = calloc(1, sizeof(*b));
        Gateway *g = &b->gateway;
        memset(&world, 0, sizeof(world));
        make_key(b);
        make_devices(b);
        make_files(b);
        b->settings.nonce_lifetime = 120 * USEC_PER_SEC;
        g->settings = &b->settings;
        g->uplink = (Uplink *)b; /* there is one: that is all that is asked */
        assert_int_equal(loop_new(&g->loop), 0);
        assert_int_equal(registry_new(&(RegistryPort){ 0 }, &g->registry), 0);
        assert_int_equal(registry_apply(g->registry, b->devices, DEVICES, 1, NULL, NULL), 0);
        assert_int_equal(attest_new(g, &g->attest), 0);
        bench_references(
                b, &(FixtureCorim){ .implementation = 0x22, .components = bench_known, .n = 1 }, 1);
        assert_int_equal(reports_new(g, &g->reports), 0);
        *state = b;
        return 0;
}

int bench_teardown(void **state)
{
        Bench *b = *state;
        attest_free(b->gateway.attest);
        reports_free(b->gateway.reports);
        registry_free(b->gateway.registry);
        loop_free(b->gateway.loop);
        public_key_unref(b->public_key);
        EVP_PKEY_free(b->key);
        for (size_t i = 0; i < world.n_reports; i++)
                buf_done(&world.reports[i]);
        unlink(b->references[0]);
        unlink(b->references[1]);
        free(b);
        return 0;
}

/* Turns the loop until nothing is left to do. */
void bench_settle(Bench *b)
{
        do
                while (sd_event_run(loop_sd_event(b->gateway.loop), 0) > 0)
                        ;
        while (store_answers());
}

DeviceState *bench_device(Bench *b, size_t i)
{
        return registry_get(b->gateway.registry, b->names[i]);
}

Nonce bench_challenge(Bench *b, size_t i)
{
        Nonce n;
        uint32_t lifetime = 0;
        usec_t until = now_boottime() + 30 * USEC_PER_SEC;
        int r;
        while ((r = gateway_challenge(&b->gateway, bench_device(b, i), 32, n.bytes, &lifetime)) ==
                       -EAGAIN &&
               now_boottime() < until)
                sd_event_run(loop_sd_event(b->gateway.loop), 10 * USEC_PER_MSEC);
        assert_int_equal(r, 0);
        assert_int_equal(lifetime, 120);
        return n;
}

/* r || s of the token's last 64 bytes, by the device's key. */
static void sign(const Bench *b, Buf *token)
{
        CoseSign1 s;
        _cleanup_buf_ Buf tbs = BUF_INIT(FIXTURE_MAX);
        uint8_t der[128], *raw = (uint8_t *)buf_view(token).data + buf_len(token) - 64;
        size_t len = sizeof(der);
        assert_int_equal(cose_sign1_read(buf_view(token), COSE_TAGGED, &s), COSE_OK);
        assert_int_equal(cose_sign1_tbs(s.protected_header, BYTES(NULL, 0), s.payload, &tbs), 0);
        EVP_MD_CTX *md = EVP_MD_CTX_new();
        assert_int_equal(EVP_DigestSignInit(md, NULL, EVP_sha256(), NULL, b->key), 1);
        assert_int_equal(EVP_DigestSign(md, der, &len, buf_view(&tbs).data, buf_len(&tbs)), 1);
        EVP_MD_CTX_free(md);
        const uint8_t *p = der;
        ECDSA_SIG *signature = d2i_ECDSA_SIG(NULL, &p, (long)len);
        assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_r(signature), raw, 32), 32);
        assert_int_equal(BN_bn2binpad(ECDSA_SIG_get0_s(signature), raw + 32, 32), 32);
        ECDSA_SIG_free(signature);
}

void bench_token(const Bench *b, const FixtureToken *t, const Nonce *n, Buf *ret)
{
        uint8_t place[32];
        memset(place, t->nonce, sizeof(place));
        fixture_token(t, ret);
        uint8_t *at = memmem(buf_view(ret).data, buf_len(ret), place, sizeof(place));
        assert_non_null(at);
        memcpy(at, n->bytes, sizeof(place));
        sign(b, ret);
}

void bench_on_done(const EvidenceResult *result, void *userdata)
{
        Bench *b = userdata;
        b->heard++;
        b->result = *result;
        snprintf(b->reason, sizeof(b->reason), "%s", result->reason);
        snprintf(b->ear, sizeof(b->ear), "%.*s", (int)result->ear.len,
                 result->ear.len > 0 ? (const char *)result->ear.data : "");
}

EvidenceTicket *bench_send_bytes(Bench *b, size_t i, uint16_t format, Bytes body)
{
        EvidenceTicket *t = NULL;
        unsigned before = b->heard;
        assert_int_equal(gateway_evidence(&b->gateway, bench_device(b, i), format, body,
                                          bench_on_done, b, &t),
                         0);
        assert_int_equal(b->heard, before); /* never from inside the call */
        return t;
}

EvidenceTicket *bench_send_token(Bench *b, size_t i, const FixtureToken *what, const Nonce *n)
{
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
        bench_token(b, what, n, &token);
        return bench_send_bytes(b, i, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
}

/* Challenge, report, filter and TPM, all in order. */
void bench_attest(Bench *b, size_t i)
{
        Nonce n = bench_challenge(b, i);
        bench_send_token(b, i, &bench_good, &n);
        bench_commit(0);
        bench_settle(b);
}

bool bench_shows(const Buf *report, const char *text)
{
        return memmem(buf_view(report).data, buf_len(report), text, strlen(text)) != NULL;
}

void bench_upstream_asks(Bench *b, Bytes payload, bool retained)
{
        const MqttClientMessage m = { .topic = "t", .payload = payload, .retained = retained };
        world.on_nonce("t", &m, world.on_nonce_userdata);
        bench_settle(b);
}
