/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The first step of a report, which waits for nobody: format, nonce, appraisal. */
#include "base/str.h"
#include "daemon/attest-internal.h"
#include "daemon/gateway.h"
#include "domain/appraisal.h"
#include "platform/crypto.h"
#include "proto/cmw.h"
#include "sallyport/attestation.h"

/* A CMW record carries the type of what is inside; other formats are the evidence itself. What is
 * kept, and goes upstream, is the inside. False for what is no CMW. */
static bool unwrap(AttestRecord *r)
{
        CmwRecord cmw;
        if (r->content_format != SALLYPORT_CF_CMW_CBOR)
                return true;
        if (cmw_record_read(BYTES(r->evidence, r->evidence_len), &cmw) != CMW_OK)
                return false;
        r->content_format =
                cmw.media_type.data ? cmw_content_format(cmw.media_type) : cmw.content_format;
        r->evidence_len = cmw.value.len;
        if (cmw.value.len > 0)
                memmove(r->evidence, cmw.value.data, cmw.value.len);
        return true;
}

static bool is_psa(uint16_t content_format)
{
        return content_format == SALLYPORT_CF_PSA_TOKEN ||
               content_format == SALLYPORT_CF_PSA_TOKEN_OLD ||
               content_format == SALLYPORT_CF_EAT_CWT;
}

static int verify(const void *key, int alg, Bytes message, Bytes signature, void *userdata)
{
        return public_key_verify_cose(key, alg, message, signature);
}

/* The key of the device's own file wins over one that a CoRIM brings for its Instance ID. */
static int find_key(Attest *a, const Device *d, PublicKey **ret)
{
        Bytes instance = BYTES(d->instance_id, d->has_instance_id ? sizeof(d->instance_id) : 0);
        if (d->attestation_key) {
                *ret = public_key_ref(d->attestation_key);
                return 0;
        }
        Bytes spki = a->references
                             ? reference_set_attest_key(a->references, instance, now_realtime())
                             : BYTES(NULL, 0);
        return spki.len > 0 ? public_key_from_spki(spki, ret) : 0;
}

int attest_appraise(Attest *a, const Device *d, const PsaEvidence *evidence, Verdict *ret)
{
        _cleanup_(public_key_unrefp) PublicKey *key = NULL;
        int r = find_key(a, d, &key);
        if (r < 0)
                return r;
        Enrolment enrolment = {
                .instance_id =
                        BYTES(d->instance_id, d->has_instance_id ? sizeof(d->instance_id) : 0),
                .key = key,
                .verify = verify,
                .client_ids = d->psa_client_ids,
                .n_client_ids = d->n_psa_client_ids,
        };
        return appraisal_psa(evidence, &enrolment, a->references, now_realtime(), ret);
}

void attest_decide(EvidenceTicket *t, EvidenceOutcome outcome, const char *failure)
{
        t->outcome = outcome;
        t->failure = failure;
        t->step = STEP_ANSWER;
}

/* Evidence that comes to no appraisal costs its nonce as well: a nonce is good for one try. Which
 * one it carries cannot be read here, so it is looked for. */
static void refuse(EvidenceTicket *t, EvidenceOutcome outcome, const char *why)
{
        size_t n = challenges_spend(t->attest->challenges, t->device->device->name,
                                    BYTES(t->record->evidence, t->record->evidence_len),
                                    loop_now(t->attest->gateway->loop));
        t->spent = n > 0 ? SPENT_NONCE : SPENT_NONE;
        attest_decide(t, outcome, why);
}

void attest_judge(EvidenceTicket *t)
{
        Attest *a = t->attest;
        AttestRecord *record = t->record;
        const Device *d = t->device->device;
        PsaEvidence evidence;
        const char *why = NULL;

        if (!unwrap(record))
                return refuse(t, EVIDENCE_MALFORMED, "not a CMW record");
        if (!is_psa(record->content_format))
                return refuse(t, EVIDENCE_UNSUPPORTED,
                              "this media type of evidence is not appraised here");
        if (d->class->attestation != ATTESTATION_PSA)
                return refuse(t, EVIDENCE_UNSUPPORTED,
                              "devices of this class are not attested (Attestation=none)");
        if (!psa_evidence_read(BYTES(record->evidence, record->evidence_len), &evidence, &why))
                return refuse(t, EVIDENCE_MALFORMED, why);
        /* Whatever becomes of the report: its nonce is used up now. */
        if (!challenges_consume(a->challenges, d->name, evidence.claims.nonce,
                                loop_now(a->gateway->loop), &record->issued))
                return attest_decide(
                        t, EVIDENCE_NOT_FRESH,
                        "no such nonce is outstanding: ask for one, use it once, in time");
        record->references = a->generation;
        record->nonce_len = evidence.claims.nonce.len;
        memcpy(record->nonce, evidence.claims.nonce.data, record->nonce_len);
        if (attest_appraise(a, d, &evidence, &t->verdict) < 0)
                return attest_decide(t, EVIDENCE_FAILED, "the gateway could not appraise");
        t->posture = verdict_posture(&t->verdict);
        t->outcome = t->verdict.foreign ? EVIDENCE_FORBIDDEN : EVIDENCE_APPRAISED;
        t->expires = usec_add(loop_now(a->gateway->loop), d->class->verdict_lifetime);
        attest_enforce(t);
}
