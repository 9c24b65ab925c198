/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "daemon/report-internal.h"

#include <errno.h>

#include "base/str.h"
#include "daemon/gateway.h"
#include "platform/crypto.h"

/* Certificates that go along: more is no chain that anybody uses. */
#define RELAY_CHAIN_MAX 8

Composition *composition_free(Composition *c)
{
        if (!c)
                return NULL;
        for (size_t i = 0; i < c->n_records; i++) {
                free(c->records[i].evidence);
                free(c->records[i].ear);
        }
        free(c);
        return NULL;
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

int composition_add(Composition *c, const AttestRecord *record)
{
        int r = copy_record(&c->records[c->n_records], record);
        if (r >= 0)
                c->n_records++;
        return r;
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

int composition_make(const Composition *c, Gateway *g, Bytes boot_id, Buf *ret, Reason *reason)
{
        _cleanup_(shown_done) Shown shown = { 0 };
        _cleanup_relay_envelope_ RelayEnvelope envelope = { 0 };
        RelayDevice devices[RELAY_DEVICES_MAX];
        Bytes chain[RELAY_CHAIN_MAX], nonce = BYTES(c->nonce.bytes, c->nonce.len);

        int r = show(g, nonce, &shown, reason);
        if (r < 0)
                return r;
        ParsecEvidence gateway = key_attestation(&shown);
        relay_devices(c, devices);
        RelayReport report = {
                .nonce = nonce,
                .spki_sha256 = shown.keys.spki_sha256,
                .version = SALLYPORT_VERSION,
                .boot_id = boot_id,
                .gateway = &gateway,
                .devices = devices,
                .n_devices = c->n_records,
        };
        r = relay_begin(&report, chain, relay_chain(&shown, chain), &envelope);
        return r < 0 ? r : sign_envelope(g, &envelope, ret, reason);
}
