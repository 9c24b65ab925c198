/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "proto/parsec.h"

#include "proto/cbor-writer.h"
#include "proto/cbor.h"

#define TPM_VERSION "2.0"

static void put_member(CborWriter *w, const char *name, Bytes value)
{
        cbor_put_str(w, name);
        cbor_put_bytes(w, value);
}

/* What both halves begin with, in the order of encoded keys. */
static void put_common(CborWriter *w, size_t n, Bytes kid, Bytes signature)
{
        cbor_put_map(w, n);
        put_member(w, "kid", kid);
        put_member(w, "sig", signature);
        cbor_put_str(w, "tpmVer");
        cbor_put_str(w, TPM_VERSION);
}

int parsec_evidence_write(const ParsecEvidence *e, Buf *ret)
{
        CborWriter w = cbor_writer(ret);
        cbor_put_map(&w, 2);
        cbor_put_str(&w, "kat");
        put_common(&w, 5, e->kid, e->cert_signature);
        put_member(&w, "pubArea", e->public_area);
        put_member(&w, "certInfo", e->cert_info);
        cbor_put_str(&w, "pat");
        put_common(&w, 4, e->kid, e->quote_signature);
        put_member(&w, "attestInfo", e->quote_info);
        return w.error;
}

typedef struct Member {
        const char *name;
        Bytes *value;
} Member;

/* One half: version and exactly the members that are asked for. */
static bool read_half(Reader *r, const Member *members, size_t n_members)
{
        bool version = false;

        if (cbor_map(r) != n_members + 1)
                return false;
        for (size_t n = n_members + 1; n > 0; n--) {
                Bytes name = cbor_text(r);
                if (bytes_equal(name, BYTES_LITERAL("tpmVer"))) {
                        version = bytes_equal(cbor_text(r), BYTES_LITERAL(TPM_VERSION));
                        continue;
                }
                size_t i = 0;
                while (i < n_members && !bytes_equal(name, bytes_from_str(members[i].name)))
                        i++;
                if (i == n_members)
                        return false;
                *members[i].value = cbor_bytes(r);
        }
        return version && reader_ok(r);
}

bool parsec_evidence_read(Bytes map, ParsecEvidence *ret)
{
        ParsecEvidence e = { 0 };
        Bytes quote_kid = { 0 };
        const Member kat[] = { { "kid", &e.kid },
                               { "sig", &e.cert_signature },
                               { "pubArea", &e.public_area },
                               { "certInfo", &e.cert_info } };
        const Member pat[] = { { "kid", &quote_kid },
                               { "sig", &e.quote_signature },
                               { "attestInfo", &e.quote_info } };

        Reader r = cbor_open(map, CBOR_DEPTH);
        if (cbor_map(&r) != 2)
                return false;
        for (size_t n = 0; n < 2; n++) {
                Bytes half = cbor_text(&r);
                bool ok = bytes_equal(half, BYTES_LITERAL("kat"))
                                  ? read_half(&r, kat, ELEMENTSOF(kat))
                          : bytes_equal(half, BYTES_LITERAL("pat"))
                                  ? read_half(&r, pat, ELEMENTSOF(pat))
                                  : false;
                if (!ok)
                        return false;
        }
        if (!cbor_done(&r) || !bytes_equal(e.kid, quote_kid))
                return false;
        *ret = e;
        return true;
}
