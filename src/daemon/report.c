/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/report.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/evidence.h"
#include "daemon/gateway.h"
#include "domain/relay.h"
#include "platform/crypto.h"
#include "platform/fiber.h"
#include "proto/cbor.h"
#include "sallyport/attestation.h"

#define REPORT_TOPIC "rats/report"
#define NONCE_TOPIC  "rats/nonce"
#define BOOT_ID_SIZE 16
/* Certificates that go along: more is no chain that anybody uses. */
#define RELAY_CHAIN_MAX 8

struct Reports {
        Gateway *gateway;
        LoopSource *deferred;
        /* Whose record the next report shows. */
        char devices[RELAY_DEVICES_MAX][DEVICE_NAME_MAX + 1];
        size_t n_devices;
        bool wanted;              /* also without a device: upstream asked */
        bool running;             /* a fiber is at it */
        uint8_t nonce[NONCE_MAX]; /* upstream's, good for one report */
        size_t nonce_len;
        uint8_t boot_id[BOOT_ID_SIZE];
};

/* What one report is made of, taken when its fiber starts: records may be replaced meanwhile. */
typedef struct Composition {
        Reports *reports;
        uint8_t nonce[NONCE_MAX];
        size_t nonce_len;
        AttestRecord records[RELAY_DEVICES_MAX];
        size_t n_records;
} Composition;

static void composition_free(Composition *c)
{
        for (size_t i = 0; i < c->n_records; i++) {
                free(c->records[i].evidence);
                free(c->records[i].ear);
        }
        free(c);
}

static int copy_record(AttestRecord *dst, const AttestRecord *src)
{
        *dst = *src;
        dst->ear = NULL;
        dst->evidence = malloc(MAX(src->evidence_len, (size_t)1));
        if (!dst->evidence)
                return -ENOMEM;
        if (src->evidence_len > 0)
                memcpy(dst->evidence, src->evidence, src->evidence_len);
        if (src->ear && !(dst->ear = strdup(src->ear))) {
                free(dst->evidence);
                return -ENOMEM;
        }
        return 0;
}

/* Upstream's nonce proves to upstream that the report is fresh; without one the gateway takes its
 * own and the claims say whose it is by what upstream asked. */
static int choose_nonce(Reports *r, Composition *c)
{
        c->nonce_len = r->nonce_len;
        if (r->nonce_len > 0) {
                memcpy(c->nonce, r->nonce, r->nonce_len);
                r->nonce_len = 0;
                return 0;
        }
        c->nonce_len = NONCE_DEFAULT;
        return crypto_random(c->nonce, c->nonce_len);
}

static int compose(Reports *r, Composition **ret)
{
        Composition *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->reports = r;
        int k = choose_nonce(r, c);
        for (size_t i = 0; i < r->n_devices && k >= 0; i++) {
                const AttestRecord *record = attest_record(r->gateway->attest, r->devices[i]);
                if (record && (k = copy_record(&c->records[c->n_records], record)) >= 0)
                        c->n_records++;
        }
        r->n_devices = 0;
        r->wanted = false;
        if (k < 0) {
                composition_free(c);
                return k;
        }
        *ret = c;
        return 0;
}

static void relay_devices(const Composition *c, RelayDevice devices[static RELAY_DEVICES_MAX])
{
        usec_t now = now_boottime();
        for (size_t i = 0; i < c->n_records; i++) {
                const AttestRecord *record = &c->records[i];
                devices[i] = (RelayDevice){
                        .name = record->device,
                        .content_format = record->content_format,
                        .evidence = BYTES(record->evidence, record->evidence_len),
                        .ear = record->ear ? bytes_from_str(record->ear) : BYTES(NULL, 0),
                        .nonce = BYTES(record->nonce, record->nonce_len),
                        .received = record->received,
                        .age = now > record->issued ? now - record->issued : 0,
                };
        }
}

static int sign_envelope(Gateway *g, const RelayEnvelope *envelope, Buf *ret, Reason *reason)
{
        uint8_t digest[CRYPTO_SHA256_SIZE], signature[P256_SIGNATURE_SIZE];
        int r = crypto_sha256(buf_view(&envelope->tbs), digest);
        if (r >= 0)
                r = identity_sign(g->identity, digest, signature, reason);
        return r < 0 ? r : relay_finish(envelope, BYTES(signature, sizeof(signature)), ret);
}

/* What the TPM and the identity's certificate say of the gateway. */
typedef struct Shown {
        IdentityAttestation quote, certification;
        IdentityDescription keys;
        uint8_t **chain;
        size_t *chain_lens, n_chain;
} Shown;

static void shown_done(Shown *s)
{
        for (size_t i = 0; i < s->n_chain; i++)
                free(s->chain[i]);
        free(s->chain);
        free(s->chain_lens);
}

static int show(Gateway *g, Bytes nonce, Shown *ret, Reason *reason)
{
        int r = identity_describe(g->identity, &ret->keys);
        if (r >= 0)
                r = identity_quote(g->identity, nonce, &ret->quote, reason);
        if (r >= 0)
                r = identity_certify(g->identity, nonce, &ret->certification, reason);
        if (r >= 0)
                r = identity_chain_der(g->identity, &ret->chain, &ret->chain_lens, &ret->n_chain);
        return r;
}

static ParsecEvidence key_attestation(const Shown *s)
{
        return (ParsecEvidence){
                .kid = BYTES(s->keys.ak_id, sizeof(s->keys.ak_id)),
                .cert_info = BYTES(s->certification.attest, s->certification.attest_len),
                .cert_signature = BYTES(s->certification.signature, s->certification.signature_len),
                .public_area = BYTES(s->keys.public_area, s->keys.public_area_len),
                .quote_info = BYTES(s->quote.attest, s->quote.attest_len),
                .quote_signature = BYTES(s->quote.signature, s->quote.signature_len),
        };
}

/* The chain without the root: who verifies has that one already. */
static size_t relay_chain(const Shown *s, Bytes chain[static RELAY_CHAIN_MAX])
{
        size_t n = MIN(s->n_chain, (size_t)RELAY_CHAIN_MAX);
        for (size_t i = 0; i < n; i++)
                chain[i] = BYTES(s->chain[i], s->chain_lens[i]);
        return n;
}

/* Straight through the TPM: quote, certify, sign. On a fiber. */
static int make_report(Composition *c, Buf *ret, Reason *reason)
{
        Gateway *g = c->reports->gateway;
        _cleanup_(shown_done) Shown shown = { 0 };
        _cleanup_relay_envelope_ RelayEnvelope envelope = { 0 };
        RelayDevice devices[RELAY_DEVICES_MAX];
        Bytes chain[RELAY_CHAIN_MAX], nonce = BYTES(c->nonce, c->nonce_len);

        int r = show(g, nonce, &shown, reason);
        if (r < 0)
                return r;
        ParsecEvidence gateway = key_attestation(&shown);
        relay_devices(c, devices);
        RelayReport report = {
                .nonce = nonce,
                .spki_sha256 = shown.keys.spki_sha256,
                .version = SALLYPORT_VERSION,
                .boot_id = BYTES(c->reports->boot_id, BOOT_ID_SIZE),
                .gateway = &gateway,
                .devices = devices,
                .n_devices = c->n_records,
        };
        r = relay_begin(&report, chain, relay_chain(&shown, chain), &envelope);
        return r < 0 ? r : sign_envelope(g, &envelope, ret, reason);
}

static int store_report(Gateway *g, Bytes report)
{
        StoreRecord record = {
                .kind = STORE_REPORT,
                .device = "",
                .topic = REPORT_TOPIC,
                .content_type = SALLYPORT_MEDIA_CMW_COSE,
                .posture = "",
                .received = now_realtime(),
                .payload = report,
        };
        return store_append(g->store, &record, NULL, NULL, NULL);
}

static void on_fiber(void *userdata)
{
        Composition *c = userdata;
        Reports *r = c->reports;
        _cleanup_buf_ Buf report = BUF_INIT(RELAY_SIZE_MAX);
        Reason reason = { "" };
        int k = make_report(c, &report, &reason);
        if (k >= 0)
                k = store_report(r->gateway, buf_view(&report));
        if (k < 0)
                log_error_errno(k, "Cannot make the attestation report for upstream%s%s",
                                *reason.text ? ": " : "", reason.text);
        composition_free(c);
        r->running = false;
        if (r->wanted || r->n_devices > 0)
                loop_defer(r->deferred);
}

static int on_turn(void *userdata)
{
        Reports *r = userdata;
        Composition *c = NULL;
        if (r->running)
                return 0;
        int k = compose(r, &c);
        if (k < 0) {
                log_error_errno(k, "Cannot begin an attestation report");
                return 0;
        }
        r->running = true;
        if (fiber_spawn(on_fiber, c) < 0) {
                log_error("Cannot begin an attestation report: out of memory");
                composition_free(c);
                r->running = false;
        }
        return 0;
}

static void add_device(Reports *r, const char *device)
{
        for (size_t i = 0; i < r->n_devices; i++)
                if (streq(r->devices[i], device))
                        return;
        if (r->n_devices == RELAY_DEVICES_MAX) {
                log_warning("More than %d devices wait for one report; %s is left out, ignoring",
                            RELAY_DEVICES_MAX, device);
                return;
        }
        snprintf(r->devices[r->n_devices++], sizeof(r->devices[0]), "%s", device);
}

void report_device(Gateway *g, const char *device)
{
        add_device(g->reports, device);
        loop_defer(g->reports->deferred);
}

/* The member "nonce" of the object that upstream sends; empty for anything else. */
static Bytes nonce_member(Bytes payload)
{
        Reader r = cbor_open(payload, CBOR_DEPTH);
        size_t n = cbor_map(&r);
        for (size_t i = 0; i < n && reader_ok(&r); i++) {
                bool wanted = bytes_equal(cbor_text(&r), BYTES_LITERAL("nonce"));
                if (wanted)
                        return cbor_bytes(&r);
                cbor_skip(&r);
        }
        return BYTES(NULL, 0);
}

/* {"nonce": bstr, ...} or the plain bytes. */
static bool read_nonce(Bytes payload, Bytes *ret)
{
        Bytes nonce = nonce_member(payload);
        if (!nonce.data)
                nonce = payload;
        if (nonce.len < NONCE_MIN || nonce.len > NONCE_MAX)
                return false;
        *ret = nonce;
        return true;
}

static void on_nonce(const char *topic, const MqttClientMessage *message, void *userdata)
{
        Reports *r = userdata;
        Bytes nonce;
        if (!read_nonce(message->payload, &nonce)) {
                log_warning("Upstream sent a nonce that is not %d to %d bytes, ignoring", NONCE_MIN,
                            NONCE_MAX);
                return;
        }
        memcpy(r->nonce, nonce.data, nonce.len);
        r->nonce_len = nonce.len;
        r->wanted = true;
        for (size_t i = 0; i < registry_size(r->gateway->registry); i++) {
                const char *name = registry_at(r->gateway->registry, i)->device->name;
                if (attest_record(r->gateway->attest, name))
                        add_device(r, name);
        }
        loop_defer(r->deferred);
}

/* "xxxxxxxx-xxxx-...": hex with dashes. */
static void read_boot_id(uint8_t ret[static BOOT_ID_SIZE])
{
        char text[64] = "", hex[2 * BOOT_ID_SIZE + 1] = "";
        size_t n = 0;
        FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");
        if (f && fgets(text, sizeof(text), f))
                for (const char *p = text; *p && n < sizeof(hex) - 1; p++)
                        if (*p != '-' && *p != '\n')
                                hex[n++] = *p;
        if (f)
                fclose(f);
        if (hex_decode(hex, ret, BOOT_ID_SIZE) < 0)
                log_warning("Cannot read the boot id, ignoring");
}

int reports_new(Gateway *g, Reports **ret)
{
        Reports *r = calloc(1, sizeof(*r));
        if (!r)
                return -ENOMEM;
        r->gateway = g;
        read_boot_id(r->boot_id);
        int k = loop_add_deferred(g->loop, &r->deferred, LOOP_FATAL, on_turn, r);
        if (k >= 0 && g->uplink)
                k = uplink_subscribe(g->uplink, "gateway/" NONCE_TOPIC, on_nonce, r);
        if (k < 0) {
                reports_free(r);
                return k;
        }
        *ret = r;
        return 0;
}

Reports *reports_free(Reports *r)
{
        if (!r)
                return NULL;
        loop_source_free(r->deferred);
        free(r);
        return NULL;
}
