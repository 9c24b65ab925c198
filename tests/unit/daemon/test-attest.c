/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A report's way through the daemon, and every place where somebody on it fails. Tokens, keys,
 * reference values, the registry and fibers are real; the packet filter, the TPM and the store
 * are doubles that answer late, or badly, as each test wants it. */
#include "../unit.h"

#include <errno.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include "base/str.h"
#include "daemon/evidence.h"
#include "daemon/gateway.h"
#include "daemon/report.h"
#include "domain/relay.h"
#include "platform/crypto.h"
#include "platform/fiber.h"
#include "sallyport/attestation.h"

#include "../domain/attest-fixture.h"

#define DEVICES  60
#define LIFETIME USEC_PER_HOUR
#define WAITERS  128

typedef struct Waiter {
        EnforcerDone done;
        void *userdata;
} Waiter;

/* What the doubles do, and what they were asked for. */
static struct {
        int apply_error; /* of enforcer_apply() itself */
        Waiter waiters[WAITERS];
        size_t n_waiters, cancelled;
        int sign_error, store_error;
        bool hold; /* the TPM does not answer */
        Fiber *held[WAITERS];
        size_t n_held;
        uint8_t quoted[NONCE_MAX];
        Buf reports[4];
        size_t n_reports;
        UplinkHandler on_nonce;
        void *on_nonce_userdata;
} world;

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

static void commit(int error)
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
        memset(ret, 0x51, P256_SIGNATURE_SIZE);
        return world.sign_error;
}

static void tpm_answers(void)
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
        assert_true(world.n_reports < ELEMENTSOF(world.reports));
        Buf *b = &world.reports[world.n_reports++];
        *b = BUF_INIT(RELAY_SIZE_MAX);
        return buf_append(b, record->payload);
}

int uplink_subscribe(Uplink *u, const char *filter, UplinkHandler handler, void *userdata)
{
        assert_string_equal(filter, "gateway/rats/nonce");
        world.on_nonce = handler;
        world.on_nonce_userdata = userdata;
        return 0;
}

typedef struct Bench {
        Gateway gateway;
        Settings settings;
        Class class;
        Device devices[DEVICES];
        char names[DEVICES][8];
        EVP_PKEY *key;
        PublicKey *public_key;
        char references[64];
        /* What the last report's sender heard. */
        unsigned heard;
        EvidenceResult result;
        char reason[REASON_MAX], ear[4096];
} Bench;

static const FixtureComponent known[] = { { "BL", 0x61, "1.0", 0x71, 0 } };
static const FixtureToken good = { 0x5a, 0x11, 0x22, -1, 0x3000, known, ELEMENTSOF(known), false };

static void write_references(Bench *b)
{
        _cleanup_buf_ Buf corim = BUF_INIT(FIXTURE_MAX);
        fixture_corim(&(FixtureCorim){ .implementation = 0x22, .components = known, .n = 1 },
                      &corim);
        snprintf(b->references, sizeof(b->references), "/tmp/test-attest-XXXXXX");
        int fd = mkstemp(b->references);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, buf_view(&corim).data, buf_len(&corim)), buf_len(&corim));
        close(fd);
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

static int setup(void **state)
{
        Bench *b = calloc(1, sizeof(*b));
        Gateway *g = &b->gateway;
        const char *paths[] = { b->references };
        memset(&world, 0, sizeof(world));
        make_key(b);
        make_devices(b);
        write_references(b);
        b->settings.nonce_lifetime = 120 * USEC_PER_SEC;
        g->settings = &b->settings;
        g->uplink = (Uplink *)b; /* there is one: that is all that is asked */
        assert_int_equal(loop_new(&g->loop), 0);
        assert_int_equal(registry_new(&(RegistryPort){ 0 }, &g->registry), 0);
        assert_int_equal(registry_apply(g->registry, b->devices, DEVICES, 1, NULL, NULL), 0);
        assert_int_equal(attest_new(g, &g->attest), 0);
        assert_int_equal(attest_load_references(g->attest, paths, 1), 0);
        assert_int_equal(reports_new(g, &g->reports), 0);
        *state = b;
        return 0;
}

static int teardown(void **state)
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
        unlink(b->references);
        free(b);
        return 0;
}

/* Turns the loop until nothing is left to do. */
static void settle(Bench *b)
{
        while (sd_event_run(loop_sd_event(b->gateway.loop), 0) > 0)
                ;
}

static DeviceState *device(Bench *b, size_t i)
{
        return registry_get(b->gateway.registry, b->names[i]);
}

typedef struct Nonce {
        uint8_t bytes[NONCE_MAX];
} Nonce;

static Nonce challenge(Bench *b, size_t i)
{
        Nonce n;
        uint32_t lifetime = 0;
        assert_int_equal(gateway_challenge(&b->gateway, device(b, i), 32, n.bytes, &lifetime), 0);
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

static void make_token(const Bench *b, const FixtureToken *t, const Nonce *n, Buf *ret)
{
        uint8_t place[32];
        memset(place, t->nonce, sizeof(place));
        fixture_token(t, ret);
        uint8_t *at = memmem(buf_view(ret).data, buf_len(ret), place, sizeof(place));
        assert_non_null(at);
        memcpy(at, n->bytes, sizeof(place));
        sign(b, ret);
}

static void on_done(const EvidenceResult *result, void *userdata)
{
        Bench *b = userdata;
        b->heard++;
        b->result = *result;
        snprintf(b->reason, sizeof(b->reason), "%s", result->reason);
        snprintf(b->ear, sizeof(b->ear), "%.*s", (int)result->ear.len,
                 result->ear.len > 0 ? (const char *)result->ear.data : "");
}

static EvidenceTicket *send_bytes(Bench *b, size_t i, uint16_t format, Bytes body)
{
        EvidenceTicket *t = NULL;
        unsigned before = b->heard;
        assert_int_equal(gateway_evidence(&b->gateway, device(b, i), format, body, on_done, b, &t),
                         0);
        assert_int_equal(b->heard, before); /* never from inside the call */
        return t;
}

static EvidenceTicket *send_token(Bench *b, size_t i, const FixtureToken *what, const Nonce *n)
{
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
        make_token(b, what, n, &token);
        return send_bytes(b, i, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
}

/* Challenge, report, filter and TPM, all in order. */
static void attest(Bench *b, size_t i)
{
        Nonce n = challenge(b, i);
        send_token(b, i, &good, &n);
        commit(0);
        settle(b);
}

static bool shows(const Buf *report, const char *text)
{
        return memmem(buf_view(report).data, buf_len(report), text, strlen(text)) != NULL;
}

/* Seconds: the claim `name` of the EAR's payload. */
static long long claim(const Bench *b, const char *name)
{
        const char *dot = strchr(b->ear, '.');
        const char *end = dot ? strchr(dot + 1, '.') : NULL;
        _cleanup_free_ uint8_t *payload = NULL;
        char text[4096], key[32];
        size_t len = 0;
        assert_non_null(end);
        assert_int_equal(
                base64url_decode_new(BYTES(dot + 1, (size_t)(end - dot) - 1), &payload, &len), 0);
        snprintf(text, sizeof(text), "%.*s", (int)len, (const char *)payload);
        snprintf(key, sizeof(key), "\"%s\":", name);
        const char *at = strstr(text, key);
        assert_non_null(at);
        return atoll(at + strlen(key));
}

static void hears_after_the_commit(void **state)
{
        Bench *b = *state;
        Nonce n = challenge(b, 0);
        send_token(b, 0, &good, &n);
        settle(b);
        assert_int_equal(b->heard, 0);
        assert_int_equal(world.n_reports, 0);
        usec_t expires = device(b, 0)->expires;
        commit(0);
        settle(b);
        assert_int_equal(b->heard, 1);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        assert_int_equal(b->result.posture, POSTURE_AFFIRMING);
        assert_int_equal(device(b, 0)->posture, POSTURE_AFFIRMING);
        Bytes last = gateway_last_result(&b->gateway, device(b, 0));
        assert_true(bytes_equal(last, bytes_from_str(b->ear)));
        assert_true(claim(b, "iat") <= claim(b, "exp"));
        /* The result is not good for longer than the verdict. */
        long long end = (long long)((now_realtime() + expires - now_boottime()) / USEC_PER_SEC);
        assert_in_range(claim(b, "exp"), end - 2, end);
        assert_int_equal(world.n_reports, 1);
        assert_true(shows(&world.reports[0], "dev00/ear"));
}

static void a_nonce_is_good_once(void **state)
{
        Bench *b = *state;
        Nonce n = challenge(b, 0);
        FixtureToken wrong = good;
        wrong.lifecycle = 0x0000;
        send_token(b, 0, &wrong, &n); /* a failed appraisal uses it up as well */
        commit(0);
        settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        assert_int_equal(b->result.posture, POSTURE_CONTRAINDICATED);
        send_token(b, 0, &good, &n);
        settle(b);
        assert_int_equal(b->heard, 2);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
        assert_int_equal(b->result.ear.len, 0);
        assert_int_equal(device(b, 0)->posture, POSTURE_CONTRAINDICATED);
        assert_int_equal(world.n_waiters, 0);
        assert_int_equal(world.n_reports, 1);
}

static void a_bad_signature_is_a_verdict(void **state)
{
        Bench *b = *state;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
        Nonce n = challenge(b, 0);
        make_token(b, &good, &n, &token);
        ((uint8_t *)buf_view(&token).data)[buf_len(&token) - 1] ^= 1;
        send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, buf_view(&token));
        commit(0);
        settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        assert_int_equal(device(b, 0)->posture, POSTURE_CONTRAINDICATED);
        assert_non_null(strstr(b->reason, "signature"));
}

/* Nothing that cannot be a report of this device, now, changes what is known of it. */
static void refusals_change_nothing(void **state)
{
        Bench *b = *state;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX);
        Nonce n = challenge(b, 0), others = challenge(b, 1);
        attest(b, 2);
        registry_set_posture(b->gateway.registry, device(b, 0), POSTURE_AFFIRMING, "before",
                             USEC_INFINITY, 1);
        make_token(b, &good, &n, &token);
        const struct {
                uint16_t format;
                Bytes body;
                EvidenceOutcome outcome;
        } table[] = {
                { SALLYPORT_CF_PSA_TOKEN, BYTES_LITERAL("x"), EVIDENCE_MALFORMED },
                { SALLYPORT_CF_PSA_TOKEN, BYTES(NULL, 0), EVIDENCE_MALFORMED },
                { SALLYPORT_CF_CMW_CBOR, buf_view(&token), EVIDENCE_MALFORMED },
                { 50, buf_view(&token), EVIDENCE_UNSUPPORTED },
        };
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                send_bytes(b, 0, table[i].format, table[i].body);
                settle(b);
                assert_int_equal(b->result.outcome, table[i].outcome);
        }
        send_token(b, 0, &good, &others);
        settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_NOT_FRESH);
        b->class.attestation = ATTESTATION_NONE;
        send_token(b, 0, &good, &n);
        settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_UNSUPPORTED);
        assert_string_equal(device(b, 0)->reason, "before");
        assert_int_equal(device(b, 0)->posture, POSTURE_AFFIRMING);
        assert_int_equal(world.n_reports, 1);
}

static void another_identity(void **state)
{
        Bench *b = *state;
        Nonce n = challenge(b, 0);
        FixtureToken foreign = good;
        foreign.instance = 0x12;
        send_token(b, 0, &foreign, &n);
        commit(0);
        settle(b);
        assert_int_equal(b->result.outcome, EVIDENCE_FORBIDDEN);
        assert_int_equal(device(b, 0)->posture, POSTURE_CONTRAINDICATED);
        assert_int_equal(world.n_reports, 1);
}

static void client_ids(void **state)
{
        Bench *b = *state;
        b->devices[0].client_ids[b->devices[0].n_client_ids++] = 7;
        attest(b, 0);
        assert_int_equal(device(b, 0)->posture, POSTURE_CONTRAINDICATED);
        b->devices[1].client_ids[b->devices[1].n_client_ids++] = 7;
        b->devices[1].client_ids[b->devices[1].n_client_ids++] = -1;
        attest(b, 1);
        assert_int_equal(device(b, 1)->posture, POSTURE_AFFIRMING);
}

/* What is kept and goes upstream is the token that was inside. */
static void inside_a_wrapper(void **state)
{
        Bench *b = *state;
        _cleanup_buf_ Buf token = BUF_INIT(FIXTURE_MAX), record = BUF_INIT(FIXTURE_MAX);
        Nonce n = challenge(b, 0);
        make_token(b, &good, &n, &token);
        CborWriter w = cbor_writer(&record);
        cbor_put_array(&w, 2);
        cbor_put_uint(&w, SALLYPORT_CF_PSA_TOKEN);
        cbor_put_bytes(&w, buf_view(&token));
        send_bytes(b, 0, SALLYPORT_CF_CMW_CBOR, buf_view(&record));
        commit(0);
        settle(b);
        assert_int_equal(b->result.posture, POSTURE_AFFIRMING);
        const AttestRecord *kept = attest_record(b->gateway.attest, "dev00");
        assert_int_equal(kept->content_format, SALLYPORT_CF_PSA_TOKEN);
        assert_true(bytes_equal(BYTES(kept->evidence, kept->evidence_len), buf_view(&token)));
}

static void the_filter_refuses(void **state)
{
        Bench *b = *state;
        Nonce n = challenge(b, 0);
        send_token(b, 0, &good, &n);
        commit(-EIO);
        settle(b);
        assert_int_equal(b->heard, 1);
        assert_int_equal(b->result.outcome, EVIDENCE_FAILED);
        world.apply_error = -ENOMEM;
        n = challenge(b, 1);
        send_token(b, 1, &good, &n);
        settle(b);
        assert_int_equal(b->heard, 2);
        assert_int_equal(b->result.outcome, EVIDENCE_FAILED);
        assert_int_equal(gateway_last_result(&b->gateway, device(b, 1)).len, 0);
        assert_int_equal(world.n_reports, 0);
}

static void upstream_asks(Bench *b, Bytes payload, bool retained)
{
        const MqttClientMessage m = { .topic = "t", .payload = payload, .retained = retained };
        world.on_nonce("t", &m, world.on_nonce_userdata);
        settle(b);
}

/* The verdict is in force, and reaches upstream as soon as the TPM, or the store, works again. */
static void the_tpm_and_the_store_fail(void **state)
{
        Bench *b = *state;
        world.sign_error = -EIO;
        attest(b, 0);
        assert_int_equal(b->result.outcome, EVIDENCE_APPRAISED);
        assert_int_equal(b->result.ear.len, 0);
        assert_int_equal(device(b, 0)->posture, POSTURE_AFFIRMING);
        assert_int_equal(gateway_last_result(&b->gateway, device(b, 0)).len, 0);
        assert_int_equal(world.n_reports, 0);
        world.sign_error = 0;
        world.store_error = -ENOBUFS;
        attest(b, 1);
        assert_int_equal(world.n_reports, 0);
        world.store_error = 0;
        attest(b, 2);
        assert_int_equal(world.n_reports, 1);
        for (size_t i = 0; i < 3; i++)
                assert_true(shows(&world.reports[0], b->names[i]));
        assert_false(shows(&world.reports[0], "dev00/ear"));
        assert_true(shows(&world.reports[0], "dev01/ear"));
}

static void removed(DeviceState *d, void *userdata)
{
        attest_forget(((Gateway *)userdata)->attest, d);
}

static void reload(Bench *b, size_t from, size_t n)
{
        assert_int_equal(attest_reserve(b->gateway.attest, n), 0);
        assert_int_equal(
                registry_apply(b->gateway.registry, &b->devices[from], n, 2, removed, &b->gateway),
                0);
}

static void removed_while_the_filter_works(void **state)
{
        Bench *b = *state;
        Nonce n = challenge(b, 0);
        EvidenceTicket *t = send_token(b, 0, &good, &n);
        reload(b, 1, DEVICES - 1);
        evidence_ticket_cancel(t);
        commit(-ENODEV);
        settle(b);
        assert_int_equal(b->heard, 0);
        n = challenge(b, 1);
        send_token(b, 1, &good, &n);
        reload(b, 2, DEVICES - 2);
        commit(0); /* it went in before it was removed */
        settle(b);
        assert_int_equal(b->heard, 1);
        assert_int_equal(world.n_reports, 0);
}

static void removed_while_the_tpm_works(void **state)
{
        Bench *b = *state;
        Nonce n = challenge(b, 0);
        world.hold = true;
        send_token(b, 0, &good, &n);
        commit(0);
        settle(b);
        assert_int_equal(world.n_held, 1);
        assert_int_equal(b->heard, 0);
        reload(b, 1, DEVICES - 1);
        tpm_answers();
        settle(b);
        assert_int_equal(b->heard, 1);
        assert_null(attest_record(b->gateway.attest, "dev00"));
        assert_int_equal(world.n_reports, 0);
}

/* A reload that keeps the device does not disturb its report. */
static void kept_over_a_reload(void **state)
{
        Bench *b = *state;
        Nonce n = challenge(b, 0);
        world.hold = true;
        send_token(b, 0, &good, &n);
        commit(0);
        settle(b);
        reload(b, 0, DEVICES);
        tpm_answers();
        settle(b);
        assert_int_equal(b->result.posture, POSTURE_AFFIRMING);
        assert_int_equal(world.n_reports, 1);
}

static void as_many_as_there_is_room_for(void **state)
{
        Bench *b = *state;
        EvidenceTicket *t = NULL;
        for (size_t i = 0; i < 64; i++)
                send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, BYTES_LITERAL("x"));
        assert_int_equal(gateway_evidence(&b->gateway, device(b, 0), SALLYPORT_CF_PSA_TOKEN,
                                          BYTES_LITERAL("x"), on_done, b, &t),
                         -EBUSY);
        settle(b);
        assert_int_equal(b->heard, 64);
        send_bytes(b, 0, SALLYPORT_CF_PSA_TOKEN, BYTES_LITERAL("x"));
        settle(b);
        assert_int_equal(b->heard, 65);
}

/* The end of the daemon: nobody is called, nothing is left with the filter. */
static void ends_with_a_report_under_way(void **state)
{
        Bench *b = *state;
        Nonce n = challenge(b, 0);
        send_token(b, 0, &good, &n);
        assert_int_equal(world.n_waiters, 1);
        b->gateway.attest = attest_free(b->gateway.attest);
        assert_int_equal(world.n_waiters, 0);
        assert_int_equal(world.cancelled, 1);
        assert_int_equal(b->heard, 0);
}

/* One report holds RELAY_DEVICES_MAX devices: none is forgotten. */
static void more_devices_than_one_report_holds(void **state)
{
        Bench *b = *state;
        static const uint8_t nonce[16] = "0123456789abcdef";
        for (size_t i = 0; i < DEVICES; i++) {
                Nonce n = challenge(b, i);
                send_token(b, i, &good, &n);
        }
        commit(0);
        settle(b);
        for (size_t i = 0; i < world.n_reports; i++)
                buf_done(&world.reports[i]);
        world.n_reports = 0;
        upstream_asks(b, BYTES(nonce, sizeof(nonce)), false);
        assert_int_equal(world.n_reports, (DEVICES + RELAY_DEVICES_MAX - 1) / RELAY_DEVICES_MAX);
        for (size_t i = 0; i < DEVICES; i++)
                assert_true(shows(&world.reports[i / RELAY_DEVICES_MAX], b->names[i]));
        for (size_t i = 0; i < world.n_reports; i++)
                assert_non_null(memmem(buf_view(&world.reports[i]).data, buf_len(&world.reports[i]),
                                       nonce, sizeof(nonce)));
}

static void nonces_of_upstream(void **state)
{
        Bench *b = *state;
        static const char plain[] = "0123456789abcdef";
        upstream_asks(b, BYTES(plain, 16), true);
        upstream_asks(b, BYTES(plain, 7), false);
        upstream_asks(b,
                      BYTES_LITERAL("\xa1\x65nonce\x44"
                                    "1234"),
                      false);
        upstream_asks(b,
                      BYTES_LITERAL("\xa1\x65nonce\x65"
                                    "12345"),
                      false);
        upstream_asks(b,
                      BYTES_LITERAL("\xa1\x65other\x48"
                                    "12345678"),
                      false);
        assert_int_equal(world.n_reports, 0);
        upstream_asks(b, BYTES(plain, 16), false);
        assert_int_equal(world.n_reports, 1);
        assert_memory_equal(world.quoted, plain, 16);
        upstream_asks(b,
                      BYTES_LITERAL("\xa1\x65nonce\x48"
                                    "abcdefgh"),
                      false);
        assert_int_equal(world.n_reports, 2);
        assert_memory_equal(world.quoted, "abcdefgh", 8);
        attest(b, 0); /* a nonce of upstream is not used for what it did not ask for */
        assert_int_equal(world.n_reports, 3);
        assert_memory_not_equal(world.quoted, "abcdefgh", 8);
}

/* Asked for while the TPM is busy with another: both come. */
static void asked_while_one_is_made(void **state)
{
        Bench *b = *state;
        static const char first[] = "first---", second[] = "second--";
        world.hold = true;
        upstream_asks(b, BYTES(first, 8), false);
        upstream_asks(b, BYTES(second, 8), false);
        assert_int_equal(world.n_held, 1);
        assert_int_equal(world.n_reports, 0);
        tpm_answers();
        settle(b);
        assert_int_equal(world.n_reports, 2);
        assert_true(shows(&world.reports[0], first));
        assert_true(shows(&world.reports[1], second));
}

#define test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
        const struct CMUnitTest tests[] = {
                test(hears_after_the_commit),
                test(a_nonce_is_good_once),
                test(a_bad_signature_is_a_verdict),
                test(refusals_change_nothing),
                test(another_identity),
                test(client_ids),
                test(inside_a_wrapper),
                test(the_filter_refuses),
                test(the_tpm_and_the_store_fail),
                test(removed_while_the_filter_works),
                test(removed_while_the_tpm_works),
                test(kept_over_a_reload),
                test(as_many_as_there_is_room_for),
                test(ends_with_a_report_under_way),
                test(more_devices_than_one_report_holds),
                test(nonces_of_upstream),
                test(asked_while_one_is_made),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
