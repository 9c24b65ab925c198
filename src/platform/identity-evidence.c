/* SPDX-License-Identifier: GPL-3.0-or-later */
/* In a certificate request: the attestation key certifies that the key of the request is in this
 * TPM, and what it is. draft-ietf-lamps-csr-attestation: the attribute id-aa-attestation with an
 * AttestationBundle of one statement, and that is Tcg-csr-tpm-certify (appendix A.2.3 of revision
 * 20, which later revisions leave to the TCG):
 *
 *     AttestationBundle    ::= SEQUENCE { attestations SEQUENCE OF AttestationStatement, ... }
 *     AttestationStatement ::= SEQUENCE { type OBJECT IDENTIFIER, stmt ANY DEFINED BY type }
 *     Tcg-csr-tpm-certify  ::= SEQUENCE { tpmSAttest OCTET STRING, signature OCTET STRING,
 *                                         tpmTPublic OCTET STRING OPTIONAL }
 */
#include <errno.h>

#include "base/buf.h"
#include "platform/identity-internal.h"
#include "platform/identity-request.h"

#define DER_MAX ((size_t)4096)

/* 2.23.133.20.1, tcg-attest-tpm-certify */
static const uint8_t statement_type[] = { 0x67, 0x81, 0x05, 0x14, 0x01 };

/* X.690 8.1.3 and 10.1: a length in one byte below 128, and behind a count of as few bytes as will
 * do from there on. */
static int put_length(Buf *b, size_t len)
{
        if (len < 0x80)
                return buf_append_u8(b, (uint8_t)len);
        int r = buf_append_u8(b, len <= UINT8_MAX ? 0x81 : 0x82);
        if (r < 0)
                return r;
        return len <= UINT8_MAX ? buf_append_u8(b, (uint8_t)len) : buf_append_u16(b, (uint16_t)len);
}

static int put(Buf *b, uint8_t tag, Bytes content)
{
        int r = buf_append_u8(b, tag);
        if (r == 0)
                r = put_length(b, content.len);
        return r < 0 ? r : buf_append(b, content);
}

/* Replaces the content by a SEQUENCE of it. */
static int wrap(Buf *b)
{
        _cleanup_buf_ Buf whole = BUF_INIT(DER_MAX);
        int r = put(&whole, V_ASN1_SEQUENCE | V_ASN1_CONSTRUCTED, buf_view(b));
        if (r < 0)
                return r;
        buf_consume(b, buf_len(b));
        return buf_append(b, buf_view(&whole));
}

static int put_statement(Buf *b, const IdentityAttestation *a, Bytes public_area)
{
        _cleanup_buf_ Buf certify = BUF_INIT(DER_MAX);
        int r = put(&certify, V_ASN1_OCTET_STRING, BYTES(a->attest, a->attest_len));
        if (r == 0)
                r = put(&certify, V_ASN1_OCTET_STRING, BYTES(a->signature, a->signature_len));
        if (r == 0)
                r = put(&certify, V_ASN1_OCTET_STRING, public_area);
        if (r == 0)
                r = wrap(&certify);
        if (r == 0)
                r = put(b, V_ASN1_OBJECT, BYTES(statement_type, sizeof(statement_type)));
        return r < 0 ? r : buf_append(b, buf_view(&certify));
}

/* Statement, list of statements, bundle. */
static int make_bundle(const IdentityAttestation *a, Bytes public_area, Buf *ret)
{
        int r = put_statement(ret, a, public_area);
        for (int i = 0; i < 3 && r == 0; i++)
                r = wrap(ret);
        return r;
}

int identity_add_evidence(Identity *id, Bytes nonce, X509_REQ *req, Reason *reason)
{
        IdentityAttestation a;
        IdentityDescription d;
        _cleanup_buf_ Buf bundle = BUF_INIT(DER_MAX);
        int r = identity_certify(id, nonce, &a, reason);
        if (r < 0)
                return r;
        ASN1_OBJECT *oid = OBJ_txt2obj(IDENTITY_ATTESTATION_OID, 1);
        bool good = oid && identity_describe(id, &d) == 0 &&
                    make_bundle(&a, BYTES(d.public_area, d.public_area_len), &bundle) == 0 &&
                    X509_REQ_add1_attr_by_OBJ(req, oid, V_ASN1_SEQUENCE, buf_view(&bundle).data,
                                              (int)buf_len(&bundle)) == 1;
        ASN1_OBJECT_free(oid);
        return good ? 0 : reason_set(reason, -EIO, "Cannot put the TPM's word into the request");
}
