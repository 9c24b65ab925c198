/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The nonces that upstream sends: each asks for a report of its own, so none takes another's place.
 * They wait for their turn at the TPM; who sends more than there is room for is answered what it
 * sent last, because the oldest is the one that it has most likely given up. */
#include "daemon/report-internal.h"

#include "base/log.h"
#include "proto/cbor.h"

#define LINES_BURST    5
#define LINES_INTERVAL USEC_PER_MIN

void report_nonces_init(ReportNonces *n)
{
        *n = (ReportNonces){ .lines = RATELIMIT_INIT(LINES_INTERVAL, LINES_BURST) };
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

static void warn(ReportNonces *n, usec_t now, const char *text)
{
        if (!ratelimit_take(&n->lines, now))
                return;
        uint64_t more = ratelimit_suppressed(&n->lines);
        if (more > 0)
                log_warning("%llu more messages about nonces of upstream were not logged",
                            (unsigned long long)more);
        log_warning("%s", text);
}

/* MQTT may deliver one twice. */
static bool waits_already(const ReportNonces *n, Bytes nonce)
{
        for (size_t i = 0; i < n->n; i++)
                if (bytes_equal(BYTES(n->waiting[i].bytes, n->waiting[i].len), nonce))
                        return true;
        return false;
}

bool report_nonces_take(ReportNonces *n, Bytes payload, bool retained, usec_t now)
{
        Bytes nonce;
        ReportNonce dropped;
        if (retained) {
                warn(n, now,
                     "Upstream sent a nonce that its broker keeps (retained): it says nothing of "
                     "when it was made, ignoring");
                return false;
        }
        if (!read_nonce(payload, &nonce)) {
                warn(n, now, "Upstream sent a nonce that is not 8 to 64 bytes, ignoring");
                return false;
        }
        if (waits_already(n, nonce))
                return false;
        if (n->n == ELEMENTSOF(n->waiting)) {
                report_nonces_next(n, &dropped);
                warn(n, now,
                     "Upstream sends nonces faster than reports can be made: the oldest that waits "
                     "is dropped");
        }
        ReportNonce *last = &n->waiting[n->n++];
        memcpy(last->bytes, nonce.data, nonce.len);
        last->len = nonce.len;
        return true;
}

bool report_nonces_next(ReportNonces *n, ReportNonce *ret)
{
        if (n->n == 0)
                return false;
        *ret = n->waiting[0];
        memmove(&n->waiting[0], &n->waiting[1], --n->n * sizeof(n->waiting[0]));
        return true;
}
