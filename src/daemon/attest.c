/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A report passes through here in four steps, each of which may wait for somebody else:
 *
 *     judge      at once: format, nonce, appraisal
 *     enforce    the packet filter's next commit
 *     attest     the TPM signs the result (EAR); on a fiber
 *     answer     the device hears, the composite report goes upstream
 */
#include "daemon/attest.h"

#include <errno.h>
#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/attest-internal.h"
#include "daemon/gateway.h"
#include "daemon/references.h"
#include "daemon/report.h"
#include "platform/crypto.h"
#include "platform/fiber.h"

/* Reports that may be between judgement and answer: each holds a copy of its evidence. */
#define IN_FLIGHT_MAX        64
#define IN_FLIGHT_PER_DEVICE 8
#define SIGNING_MAX          8
#define NONCES_MIN           64
/* Log lines about evidence that is not accepted: a device must not fill the journal with them. */
#define FAILURES_BURST    20
#define FAILURES_INTERVAL (10 * USEC_PER_SEC)

const char *evidence_outcome_to_string(EvidenceOutcome o)
{
        switch (o) {
        case EVIDENCE_APPRAISED:
                return "appraised";
        case EVIDENCE_MALFORMED:
                return "malformed";
        case EVIDENCE_FORBIDDEN:
                return "foreign-identity";
        case EVIDENCE_NOT_FRESH:
                return "not-fresh";
        case EVIDENCE_UNSUPPORTED:
                return "unsupported-media-type";
        case EVIDENCE_FAILED:
                return "failed";
        }
        return "unknown";
}

static AttestRecord *record_free(AttestRecord *r)
{
        if (!r)
                return NULL;
        free(r->evidence);
        free(r->ear);
        free(r);
        return NULL;
}
DEFINE_CLEANUP(AttestRecord, record_free)

static void ticket_free(EvidenceTicket *t)
{
        if (t->step == STEP_ENFORCE)
                enforcer_cancel(t->attest->gateway->enforcer, t);
        list_remove(&t->in_flight);
        t->attest->n_in_flight -= t->origin != ORIGIN_REVIEWED;
        record_free(t->record);
        free(t);
}

/* ---- enforce ---- */

static void on_enforced(int error, void *userdata)
{
        EvidenceTicket *t = userdata;
        if (error < 0)
                attest_decide(t, EVIDENCE_FAILED, "the packet filter did not take the change");
        else
                t->step = STEP_SIGN;
        loop_defer(t->attest->deferred);
}

static void log_verdict(const EvidenceTicket *t)
{
        const char *name = t->device->device->name;
        log_message(t->posture == POSTURE_AFFIRMING ? LOG_INFO : LOG_WARNING,
                    LOG_FIELDS({ "DEVICE", name }, { "POSTURE", posture_to_string(t->posture) },
                               { "REASON", t->verdict.reason }),
                    "%s is %s: %s", name, posture_to_string(t->posture), t->verdict.reason);
}

void attest_enforce(EvidenceTicket *t)
{
        Gateway *g = t->attest->gateway;
        t->step = STEP_ENFORCE;
        log_verdict(t);
        registry_set_posture(g->registry, t->device, t->posture, t->verdict.reason, t->expires,
                             loop_now(g->loop));
        if (enforcer_apply(g->enforcer, t->device, on_enforced, t) < 0)
                attest_decide(t, EVIDENCE_FAILED, "the packet filter did not take the change");
}

/* ---- attest: the result, signed ---- */

static int sign_jwt(Gateway *g, Buf *jwt, Reason *reason)
{
        uint8_t digest[CRYPTO_SHA256_SIZE], signature[P256_SIGNATURE_SIZE];
        int r = crypto_sha256(buf_view(jwt), digest);
        if (r >= 0)
                r = identity_sign(g->identity, digest, signature, reason);
        return r < 0 ? r : ear_sign(jwt, BYTES(signature, sizeof(signature)));
}

static int make_ear(EvidenceTicket *t, char **ret, Reason *reason)
{
        Attest *a = t->attest;
        _cleanup_buf_ Buf jwt = BUF_INIT(16 * 1024);
        usec_t now = now_realtime(), boottime = now_boottime();
        EarSubmod submod = {
                .name = t->record->device,
                .status = t->verdict.tier,
                .vector = t->verdict.vector,
                .policy_id = a->references ? reference_set_id(a->references) : NULL,
                .reason = t->verdict.reason,
        };
        Ear ear = {
                .nonce = BYTES(t->record->nonce, t->record->nonce_len),
                .issued = now,
                .expires = usec_add(now, t->expires > boottime ? t->expires - boottime : 0),
                .developer = "sallyport",
                .build = SALLYPORT_VERSION,
                .submods = &submod,
                .n_submods = 1,
        };
        int r = ear_signing_input(&ear, &jwt);
        if (r >= 0)
                r = sign_jwt(a->gateway, &jwt, reason);
        if (r < 0)
                return r;
        *ret = bytes_to_str(buf_view(&jwt));
        return *ret ? 0 : -ENOMEM;
}

static void on_fiber(void *userdata)
{
        EvidenceTicket *t = userdata;
        Reason reason = { "" };
        if (t->device) {
                int r = make_ear(t, &t->record->ear, &reason);
                if (r < 0)
                        log_message_errno(LOG_WARNING, r,
                                          LOG_FIELDS({ "DEVICE", t->record->device }),
                                          "Cannot sign the attestation result of %s%s%s",
                                          t->record->device, *reason.text ? ": " : "", reason.text);
        }
        t->attest->n_signing--;
        t->step = STEP_ANSWER;
        loop_defer(t->attest->deferred);
}

/* The TPM takes one at a time: there is no use in more fibers. */
static void sign(EvidenceTicket *t)
{
        Attest *a = t->attest;
        if (a->n_signing >= SIGNING_MAX)
                return;
        a->n_signing++;
        t->step = STEP_SIGNING;
        if (fiber_spawn(on_fiber, t) < 0) {
                a->n_signing--;
                t->step = STEP_ANSWER;
        }
}

/* ---- answer ---- */

static void keep_record(Attest *a, EvidenceTicket *t)
{
        Bytes name = bytes_from_str(t->record->device);
        AttestRecord *before = hashmap_remove(a->records, name);
        t->record->asked = t->record->asked || (before && before->asked);
        record_free(before);
        int r = hashmap_put(a->records, name, t->record);
        if (r < 0) {
                log_message_errno(LOG_ERR, r, LOG_FIELDS({ "DEVICE", t->record->device }),
                                  "The verdict on %s does not go upstream", t->record->device);
                return;
        }
        report_device(a->gateway, TAKE_PTR(t->record));
}

#define SPENT_MAX 64

static const char *spent_to_string(Spent s)
{
        switch (s) {
        case SPENT_UNKNOWN:
                return "";
        case SPENT_NONE:
                return " (it carries no nonce that is outstanding)";
        case SPENT_NONCE:
                return " (its nonce is used up)";
        }
        return "";
}

static void log_failure(EvidenceTicket *t, const char *reason)
{
        RateLimit *limit = &t->attest->failures;
        if (!ratelimit_take(limit, loop_now(t->attest->gateway->loop)))
                return;
        uint64_t suppressed = ratelimit_suppressed(limit);
        if (suppressed > 0)
                log_warning("%llu more reports were not accepted", (unsigned long long)suppressed);
        log_message(LOG_WARNING,
                    LOG_FIELDS({ "DEVICE", t->record->device },
                               { "REASON", evidence_outcome_to_string(t->outcome) }),
                    "Evidence of %s was not accepted: %s", t->record->device, reason);
}

static void answer(EvidenceTicket *t)
{
        char reason[REASON_MAX + SPENT_MAX];
        if (!t->device && !t->failure)
                attest_decide(t, EVIDENCE_FAILED, "its configuration changed meanwhile");
        EvidenceResult result = {
                .outcome = t->outcome,
                .posture = t->posture,
                .reason = reason,
                .ear = t->record->ear && !t->failure ? bytes_from_str(t->record->ear)
                                                     : BYTES(NULL, 0),
        };
        snprintf(reason, sizeof(reason), "%s%s", t->failure ? t->failure : t->verdict.reason,
                 spent_to_string(t->spent));
        if (t->failure)
                log_failure(t, reason);
        attest_answered(t, &result);
        if (t->done)
                t->done(&result, t->userdata);
        if (!t->failure && t->origin != ORIGIN_REPEATED)
                keep_record(t->attest, t);
        ticket_free(t);
}

/* One step of every report that can take one. */
static int on_turn(void *userdata)
{
        Attest *a = userdata;
        LIST_FOREACH_SAFE (node, &a->in_flight) {
                EvidenceTicket *t = LIST_ENTRY(node, EvidenceTicket, in_flight);
                attest_review_ticket(t);
                if (t->step == STEP_SIGN)
                        sign(t);
                if (t->step == STEP_ANSWER)
                        answer(t);
        }
        return 0;
}

/* ---- the doors ---- */

int gateway_challenge(Gateway *g, DeviceState *d, size_t len, uint8_t ret[static NONCE_MAX],
                      uint32_t *ret_lifetime)
{
        usec_t lifetime = g->settings->nonce_lifetime;
        int r = challenges_issue(g->attest->challenges, d->device->name, len, lifetime,
                                 loop_now(g->loop), ret);
        if (r >= 0)
                *ret_lifetime = (uint32_t)(lifetime / USEC_PER_SEC);
        return r;
}

static AttestRecord *record_new(const DeviceState *d, uint16_t content_format, Bytes body)
{
        _cleanup_(record_freep) AttestRecord *record = calloc(1, sizeof(*record));
        if (!record)
                return NULL;
        record->evidence = malloc(MAX(body.len, (size_t)1));
        if (!record->evidence)
                return NULL;
        if (body.len > 0)
                memcpy(record->evidence, body.data, body.len);
        record->evidence_len = body.len;
        record->content_format = content_format;
        record->received = now_realtime();
        snprintf(record->device, sizeof(record->device), "%s", d->device->name);
        return TAKE_PTR(record);
}

EvidenceTicket *attest_ticket_new(Attest *a, DeviceState *d, Origin origin, AttestRecord *record)
{
        EvidenceTicket *t = calloc(1, sizeof(*t));
        if (!t) {
                record_free(record);
                return NULL;
        }
        *t = (EvidenceTicket){ .attest = a, .device = d, .origin = origin, .record = record };
        list_append(&a->in_flight, &t->in_flight);
        a->n_in_flight += origin != ORIGIN_REVIEWED;
        return t;
}

static size_t in_flight_of(const Attest *a, const DeviceState *d)
{
        size_t n = 0;
        LIST_FOREACH (node, &a->in_flight)
                n += LIST_ENTRY(node, EvidenceTicket, in_flight)->device == d;
        return n;
}

int gateway_evidence(Gateway *g, DeviceState *d, uint16_t content_format, Bytes body,
                     EvidenceDone done, void *userdata, EvidenceTicket **ret_ticket)
{
        Attest *a = g->attest;
        if (a->n_in_flight >= IN_FLIGHT_MAX || in_flight_of(a, d) >= IN_FLIGHT_PER_DEVICE)
                return -EBUSY;
        AttestRecord *record = record_new(d, content_format, body);
        EvidenceTicket *t = record ? attest_ticket_new(a, d, ORIGIN_SENT, record) : NULL;
        if (!t)
                return -ENOMEM;
        t->done = done;
        t->userdata = userdata;
        if (!attest_repeats(t))
                attest_judge(t);
        loop_defer(a->deferred);
        if (ret_ticket)
                *ret_ticket = t;
        return 0;
}

void evidence_ticket_cancel(EvidenceTicket *t)
{
        if (t)
                t->done = NULL;
}

AttestRecord *attest_record(const Attest *a, const char *device)
{
        return hashmap_get(a->records, bytes_from_str(device));
}

Bytes gateway_last_result(Gateway *g, const DeviceState *d)
{
        const AttestRecord *record = attest_record(g->attest, d->device->name);
        return record && record->ear ? bytes_from_str(record->ear) : BYTES(NULL, 0);
}

void attest_forget(Attest *a, const DeviceState *d)
{
        LIST_FOREACH (node, &a->in_flight) {
                EvidenceTicket *t = LIST_ENTRY(node, EvidenceTicket, in_flight);
                if (t->device == d)
                        t->device = NULL;
        }
        record_free(hashmap_remove(a->records, bytes_from_str(d->device->name)));
        replays_forget(a->replays, d->device->name);
        challenges_forget(a->challenges, d->device->name);
}

void attest_set_references(Attest *a, ReferenceSet *set)
{
        if (!a->references || !streq(reference_set_id(a->references), reference_set_id(set)))
                a->generation++;
        reference_set_unref(a->references);
        a->references = set;
}

int attest_reserve(Attest *a, size_t n_devices)
{
        return challenges_reserve(&a->challenges, n_devices * CHALLENGE_PER_PEER);
}

int attest_load_references(Attest *a, const char *const *paths, size_t n)
{
        ReferenceSet *set = NULL;
        int r = references_load(paths, n, &set);
        if (r < 0)
                return r;
        attest_set_references(a, set);
        return 0;
}

int attest_new(Gateway *g, Attest **ret)
{
        _cleanup_(attest_freep) Attest *a = calloc(1, sizeof(*a));
        if (!a)
                return -ENOMEM;
        a->gateway = g;
        a->failures = RATELIMIT_INIT(FAILURES_INTERVAL, FAILURES_BURST);
        list_init(&a->in_flight);
        a->records = hashmap_new();
        if (!a->records)
                return -ENOMEM;
        int r = replays_new(&a->replays);
        if (r < 0)
                return r;
        size_t nonces = MAX(registry_size(g->registry) * CHALLENGE_PER_PEER, (size_t)NONCES_MIN);
        r = challenges_new(nonces, crypto_random, &a->challenges);
        if (r >= 0)
                r = loop_add_deferred(g->loop, &a->deferred, LOOP_FATAL, on_turn, a);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(a);
        return 0;
}

Attest *attest_free(Attest *a)
{
        if (!a)
                return NULL;
        if (a->in_flight.next)
                LIST_FOREACH_SAFE (node, &a->in_flight) {
                        ticket_free(LIST_ENTRY(node, EvidenceTicket, in_flight));
                }
        if (a->records)
                HASHMAP_FOREACH (i, a->records) {
                        record_free(i.value);
                }
        hashmap_free(a->records);
        replays_free(a->replays);
        challenges_free(a->challenges);
        reference_set_unref(a->references);
        loop_source_free(a->deferred);
        free(a);
        return NULL;
}
