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
        bool wanted;              /* also without a device: upstream asked */
        bool running;             /* a fiber is at it */
        uint8_t nonce[NONCE_MAX]; /* upstream's, until all that is due was shown with it */
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

/* Upstream's nonce proves to upstream that the report is fresh; a report that upstream has not
 * asked for carries one of the gateway's own. */
static int choose_nonce(const Reports *r, Composition *c)
{
        c->nonce_len = r->nonce_len;
        if (r->nonce_len > 0) {
                memcpy(c->nonce, r->nonce, r->nonce_len);
                return 0;
        }
        c->nonce_len = NONCE_DEFAULT;
        return crypto_random(c->nonce, c->nonce_len);
}

static AttestRecord *record_at(const Gateway *g, size_t i)
{
        return attest_record(g->attest, registry_at(g->registry, i)->device->name);
}

static bool any_due(const Gateway *g)
{
        for (size_t i = 0; i < registry_size(g->registry); i++) {
                const AttestRecord *record = record_at(g, i);
                if (record && record->due)
                        return true;
        }
        return false;
}

/* As many of those that are due as one report holds. */
static int take_records(const Gateway *g, Composition *c)
{
        for (size_t i = 0; i < registry_size(g->registry); i++) {
                AttestRecord *record = record_at(g, i);
                if (!record || !record->due)
                        continue;
                if (c->n_records == RELAY_DEVICES_MAX)
                        return 0;
                int r = copy_record(&c->records[c->n_records], record);
                if (r < 0)
                        return r;
                c->n_records++;
                record->due = false;
        }
        return 0;
}

/* What a report that failed was to show waits for the next one. */
static void give_back(const Composition *c)
{
        for (size_t i = 0; i < c->n_records; i++) {
                AttestRecord *record =
                        attest_record(c->reports->gateway->attest, c->records[i].device);
                if (record)
                        record->due = true;
        }
}

static int compose(Reports *r, Composition **ret)
{
        Composition *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->reports = r;
        int k = choose_nonce(r, c);
        if (k >= 0)
                k = take_records(r->gateway, c);
        if (k < 0) {
                give_back(c);
                composition_free(c);
                return k;
        }
        r->wanted = false;
        if (!any_due(r->gateway))
                r->nonce_len = 0;
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

/* The report itself is gone then; its devices are in the next one that upstream asks for. */
static void on_stored(int error, uint64_t id, void *userdata)
{
        if (error < 0)
                log_error_errno(error, "An attestation report could not be stored");
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
        return store_append(g->store, &record, on_stored, NULL, NULL);
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
        bool more = r->wanted || (k >= 0 && any_due(r->gateway));
        if (k < 0) {
                log_error_errno(k,
                                "Cannot make the attestation report for upstream, the next one "
                                "will show what it was to show%s%s",
                                *reason.text ? ": " : "", reason.text);
                give_back(c);
        }
        composition_free(c);
        r->running = false;
        if (more)
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
                give_back(c);
                composition_free(c);
                r->running = false;
        }
        return 0;
}

void report_device(Gateway *g, AttestRecord *record)
{
        record->due = true;
        loop_defer(g->reports->deferred);
}

/* The member "nonce" of the object that upstream sends; empty when it has none. */
static Bytes nonce_member(Reader r)
{
        size_t n = cbor_map(&r);
        for (size_t i = 0; i < n && reader_ok(&r); i++) {
                bool wanted = bytes_equal(cbor_text(&r), BYTES_LITERAL("nonce"));
                if (wanted)
                        return cbor_bytes(&r);
                cbor_skip(&r);
        }
        return BYTES(NULL, 0);
}

/* {"nonce": bstr, ...} or the plain bytes: what is a CBOR map is no plain nonce. */
static bool read_nonce(Bytes payload, Bytes *ret)
{
        Reader r = cbor_open(payload, CBOR_DEPTH);
        Bytes nonce = cbor_peek(&r) == CBOR_MAP ? nonce_member(r) : payload;
        if (nonce.len < NONCE_MIN || nonce.len > NONCE_MAX)
                return false;
        *ret = nonce;
        return true;
}

static void on_nonce(const char *topic, const MqttClientMessage *message, void *userdata)
{
        Reports *r = userdata;
        Bytes nonce;
        if (message->retained) {
                log_warning("Upstream sent a nonce that its broker keeps (retained): it says "
                            "nothing of when it was made, ignoring");
                return;
        }
        if (!read_nonce(message->payload, &nonce)) {
                log_warning("Upstream sent a nonce that is not %d to %d bytes, ignoring", NONCE_MIN,
                            NONCE_MAX);
                return;
        }
        memcpy(r->nonce, nonce.data, nonce.len);
        r->nonce_len = nonce.len;
        r->wanted = true;
        for (size_t i = 0; i < registry_size(r->gateway->registry); i++) {
                AttestRecord *record = record_at(r->gateway, i);
                if (record)
                        record->due = true;
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
