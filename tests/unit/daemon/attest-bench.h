/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* A gateway for reports on their way through the daemon. Tokens, keys, reference values, the
 * registry and fibers are real; the packet filter, the TPM and the store are doubles that answer
 * late, or badly, as each test wants it. */

#include "../unit.h"

#include <errno.h>
#include <openssl/types.h>
#include <stdio.h>

#include "daemon/evidence.h"
#include "daemon/gateway.h"
#include "daemon/report.h"
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
typedef struct World {
        int apply_error; /* of enforcer_apply() itself */
        Waiter waiters[WAITERS];
        size_t n_waiters, cancelled;
        int sign_error, store_error;
        int disk_error;   /* the store takes it, and tells later that it could not */
        StoreDone stored; /* who waits for the store */
        void *stored_userdata;
        unsigned signatures;
        bool hold; /* the TPM does not answer */
        Fiber *held[WAITERS];
        size_t n_held;
        uint8_t quoted[NONCE_MAX];
        Buf reports[16];
        size_t n_reports;
        UplinkHandler on_nonce;
        void *on_nonce_userdata;
} World;
extern World world;

typedef struct Bench {
        Gateway gateway;
        Settings settings;
        Class class;
        Device devices[DEVICES];
        char names[DEVICES][8];
        EVP_PKEY *key;
        PublicKey *public_key;
        char references[2][64]; /* files */
        /* What the last report's sender heard. */
        unsigned heard;
        EvidenceResult result;
        char reason[REASON_MAX], ear[4096];
} Bench;

extern const FixtureComponent bench_known[1];
extern const FixtureToken bench_good; /* under the reference values of bench_setup() */

typedef struct Nonce {
        uint8_t bytes[NONCE_MAX];
} Nonce;

int bench_setup(void **state);
int bench_teardown(void **state);

/* A nonce for device `i`; waits until it may have one. */
Nonce bench_challenge(Bench *b, size_t i);
DeviceState *bench_device(Bench *b, size_t i);
/* Appends a token with this nonce, signed by the device's key. */
void bench_token(const Bench *b, const FixtureToken *t, const Nonce *n, Buf *ret);
/* For gateway_evidence(): notes what the sender hears; `userdata` is the Bench. */
void bench_on_done(const EvidenceResult *result, void *userdata);
EvidenceTicket *bench_send_bytes(Bench *b, size_t i, uint16_t format, Bytes body);
EvidenceTicket *bench_send_token(Bench *b, size_t i, const FixtureToken *what, const Nonce *n);
/* Puts these reference values in force, at most two. */
void bench_references(Bench *b, const FixtureCorim *files, size_t n);
/* Challenge, report, filter and TPM, all in order. */
void bench_attest(Bench *b, size_t i);

/* Turns the loop until nothing is left to do. */
void bench_settle(Bench *b);
/* The packet filter answers all who wait for it. */
void bench_commit(int error);
/* The TPM, that was held, answers. */
void bench_tpm_answers(void);
void bench_upstream_asks(Bench *b, Bytes payload, bool retained);
bool bench_shows(const Buf *report, const char *text);
