/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/tpm-policy.h"

#include <errno.h>
#include <stdio.h>
#include <tss2/tss2_mu.h>

#include "base/buf.h"
#include "base/str.h"
#include "platform/crypto.h"
#include "platform/ossl.h"
#include "platform/tpm-templates.h"

int pcrs_parse(const char *s, uint32_t *ret_mask)
{
        uint32_t mask = 0;
        for (;;) {
                _cleanup_free_ char *word = NULL;
                uint32_t pcr;
                int r = next_word(&s, &word);
                if (r < 0)
                        return r;
                if (r == 0)
                        break;
                if (parse_u32(word, 0, POLICY_PCR_COUNT - 1, &pcr) < 0)
                        return -EINVAL;
                mask |= 1U << pcr;
        }
        if (mask == 0)
                return -EINVAL;
        *ret_mask = mask;
        return 0;
}

char *pcrs_format(uint32_t mask)
{
        char text[POLICY_PCR_COUNT * 3 + 1] = "";
        size_t len = 0;
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++)
                if (mask & 1U << i)
                        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%u",
                                                len > 0 ? " " : "", i);
        return strdup(text);
}

int pcrs_digest(const PcrValues *p, uint8_t ret[static POLICY_DIGEST_SIZE])
{
        uint8_t all[POLICY_PCR_COUNT * POLICY_DIGEST_SIZE];
        size_t len = 0;
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++)
                if (p->mask & 1U << i) {
                        memcpy(all + len, p->values[i], POLICY_DIGEST_SIZE);
                        len += POLICY_DIGEST_SIZE;
                }
        return crypto_sha256(BYTES(all, len), ret);
}

/* A name is the name algorithm and the digest of the public area. */
static int name_of(Bytes public_area, uint8_t ret[static POLICY_NAME_SIZE])
{
        ret[0] = TPM2_ALG_SHA256 >> 8;
        ret[1] = TPM2_ALG_SHA256 & 0xff;
        return crypto_sha256(public_area, ret + 2);
}

int operator_name(const uint8_t point[static P256_POINT_SIZE], uint8_t ret[static POLICY_NAME_SIZE])
{
        TPM2B_PUBLIC pub = template_operator(point);
        uint8_t area[512];
        size_t len = 0;
        if (Tss2_MU_TPMT_PUBLIC_Marshal(&pub.publicArea, area, sizeof(area), &len) !=
            TSS2_RC_SUCCESS)
                return -EIO;
        return name_of(BYTES(area, len), ret);
}

int counter_name(uint32_t index, uint8_t ret[static POLICY_NAME_SIZE])
{
        TPM2B_NV_PUBLIC pub = template_counter(index, true);
        uint8_t area[128];
        size_t len = 0;
        if (Tss2_MU_TPMS_NV_PUBLIC_Marshal(&pub.nvPublic, area, sizeof(area), &len) !=
            TSS2_RC_SUCCESS)
                return -EIO;
        return name_of(BYTES(area, len), ret);
}

/* policyDigest = H(policyDigest || content), in place. */
static int extend(uint8_t digest[static POLICY_DIGEST_SIZE], const Buf *content)
{
        _cleanup_buf_ Buf b = BUF_INIT(1024);
        int r = buf_append(&b, BYTES(digest, POLICY_DIGEST_SIZE));
        if (r == 0)
                r = buf_append(&b, buf_view(content));
        if (r == 0)
                r = crypto_sha256(buf_view(&b), digest);
        return r;
}

/* TPM 2.0 Library Part 3, 23.7: CC || selection || digest of the values. */
static int extend_pcr(uint8_t digest[static POLICY_DIGEST_SIZE], const PcrValues *pcrs)
{
        TPML_PCR_SELECTION selection = pcr_selection(pcrs->mask);
        uint8_t area[64], values[POLICY_DIGEST_SIZE];
        size_t len = 0;
        if (Tss2_MU_TPML_PCR_SELECTION_Marshal(&selection, area, sizeof(area), &len) !=
                    TSS2_RC_SUCCESS ||
            pcrs_digest(pcrs, values) < 0)
                return -EIO;
        _cleanup_buf_ Buf b = BUF_INIT(512);
        if (buf_append_u32(&b, TPM2_CC_PolicyPCR) < 0 || buf_append(&b, BYTES(area, len)) < 0 ||
            buf_append(&b, BYTES(values, sizeof(values))) < 0)
                return -ENOMEM;
        return extend(digest, &b);
}

/* Part 3, 23.9: CC || H(operand || offset || operation) || name of the index. */
static int extend_counter(uint8_t digest[static POLICY_DIGEST_SIZE], uint32_t index, uint64_t max)
{
        uint8_t name[POLICY_NAME_SIZE], args[POLICY_DIGEST_SIZE];
        _cleanup_buf_ Buf a = BUF_INIT(64), b = BUF_INIT(512);
        if (buf_append_u64(&a, max) < 0 || buf_append_u16(&a, 0) < 0 ||
            buf_append_u16(&a, TPM2_EO_UNSIGNED_LE) < 0)
                return -ENOMEM;
        if (crypto_sha256(buf_view(&a), args) < 0 || counter_name(index, name) < 0)
                return -EIO;
        if (buf_append_u32(&b, TPM2_CC_PolicyNV) < 0 ||
            buf_append(&b, BYTES(args, sizeof(args))) < 0 ||
            buf_append(&b, BYTES(name, sizeof(name))) < 0)
                return -ENOMEM;
        return extend(digest, &b);
}

int policy_digest(const Policy *p, uint8_t ret[static POLICY_DIGEST_SIZE])
{
        uint8_t digest[POLICY_DIGEST_SIZE] = { 0 };
        int r = p->hands_over ? policy_authorize_digest(p->successor, digest)
                              : extend_pcr(digest, &p->pcrs);
        if (r == 0)
                r = extend_counter(digest, p->counter_index, p->counter_maximum);
        if (r == 0)
                memcpy(ret, digest, sizeof(digest));
        return r;
}

/* Part 3, 23.16: from zero, CC || name of the key, then the policyRef on its own. */
int policy_authorize_digest(const uint8_t operator_point[static P256_POINT_SIZE],
                            uint8_t ret[static POLICY_DIGEST_SIZE])
{
        uint8_t digest[POLICY_DIGEST_SIZE] = { 0 }, name[POLICY_NAME_SIZE];
        _cleanup_buf_ Buf b = BUF_INIT(128), ref = BUF_INIT(128);
        if (operator_name(operator_point, name) < 0)
                return -EIO;
        if (buf_append_u32(&b, TPM2_CC_PolicyAuthorize) < 0 ||
            buf_append(&b, BYTES(name, sizeof(name))) < 0 || buf_append_str(&ref, POLICY_REF) < 0)
                return -ENOMEM;
        int r = extend(digest, &b);
        if (r == 0)
                r = extend(digest, &ref);
        if (r == 0)
                memcpy(ret, digest, sizeof(digest));
        return r;
}

static bool differs(const Policy *p, const PcrValues *now, unsigned pcr)
{
        return p->pcrs.mask & 1U << pcr &&
               (!(now->mask & 1U << pcr) ||
                memcmp(p->pcrs.values[pcr], now->values[pcr], POLICY_DIGEST_SIZE) != 0);
}

unsigned policy_n_differing(const Policy *p, const PcrValues *now)
{
        unsigned n = 0;
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++)
                n += differs(p, now, i);
        return n;
}

PolicyFit policy_fits(const Policy *p, const PcrValues *now, uint64_t counter)
{
        if (counter > p->counter_maximum)
                return POLICY_RETIRED;
        return policy_n_differing(p, now) > 0 ? POLICY_PCRS_DIFFER : POLICY_HOLDS;
}

static int explain_pcrs(const Policy *p, const PcrValues *now, Reason *reason)
{
        char is[2 * POLICY_DIGEST_SIZE + 1], wants[2 * POLICY_DIGEST_SIZE + 1];
        unsigned i = 0;
        while (!differs(p, now, i))
                i++;
        hex_encode(BYTES(now->values[i], POLICY_DIGEST_SIZE), is);
        hex_encode(BYTES(p->pcrs.values[i], POLICY_DIGEST_SIZE), wants);
        return reason_set(reason, -EKEYREJECTED,
                          "The TPM's PCR values are not those that an installed policy allows: PCR "
                          "%u is %s, the nearest policy wants %s",
                          i, is, wants);
}

int policy_explain(const Policy *p, const PcrValues *now, uint64_t counter, Reason *reason)
{
        switch (policy_fits(p, now, counter)) {
        case POLICY_RETIRED:
                return reason_set(reason, -EKEYREVOKED,
                                  "The installed %s was retired: the counter stands at %llu, it "
                                  "holds up to %llu",
                                  p->hands_over ? "hand-over to the operator key" : "policy",
                                  (unsigned long long)counter,
                                  (unsigned long long)p->counter_maximum);
        case POLICY_PCRS_DIFFER:
                return explain_pcrs(p, now, reason);
        case POLICY_HOLDS:
                break;
        }
        return 0;
}

static int signed_message(const Policy *p, Buf *b)
{
        uint8_t digest[POLICY_DIGEST_SIZE];
        int r = policy_digest(p, digest);
        if (r == 0)
                r = buf_append(b, BYTES(digest, sizeof(digest)));
        if (r == 0)
                r = buf_append_str(b, POLICY_REF);
        return r;
}

int policy_to_be_signed(const Policy *p, uint8_t ret[static POLICY_DIGEST_SIZE])
{
        _cleanup_buf_ Buf b = BUF_INIT(128);
        int r = signed_message(p, &b);
        return r < 0 ? r : crypto_sha256(buf_view(&b), ret);
}

int policy_verify(const Policy *p, Reason *reason)
{
        if (!p->is_signed)
                return reason_set(reason, -EBADMSG,
                                  "The policy is not signed: see \"sallyportctl policy sign\"");
        _cleanup_buf_ Buf message = BUF_INIT(128);
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = p256_from_point(p->operator_point);
        _cleanup_openssl_ uint8_t *der = NULL;
        int len = key ? i2d_PUBKEY(key, &der) : -1;
        _cleanup_(public_key_unrefp) PublicKey *k = NULL;
        if (len <= 0 || public_key_from_spki(BYTES(der, (size_t)len), &k) < 0)
                return reason_set(reason, -EBADMSG, "The policy's operator key is no key");
        int r = signed_message(p, &message);
        if (r == 0)
                r = public_key_verify_cose(k, -7, buf_view(&message),
                                           BYTES(p->signature, sizeof(p->signature)));
        if (r < 0)
                return reason_set(reason, r, "The policy's signature cannot be checked");
        if (r == 0)
                return reason_set(reason, -EBADMSG,
                                  "The policy's signature is not by the operator key");
        return 0;
}
