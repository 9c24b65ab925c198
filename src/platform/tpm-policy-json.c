/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A policy as a JSON file that an operator can read before he signs it. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "platform/file.h"
#include "platform/tpm-policy.h"

#define FORMAT "sallyport-policy-1"

/* jansson's sentences quote the file, and the file may be somebody's who wants to draw on the
 * operator's terminal. */
static int bad(Reason *reason, const char *what)
{
        _cleanup_free_ char *text = str_escape(bytes_from_str(what), SIZE_MAX);
        return reason_set(reason, -EBADMSG, "The policy file is not valid: %s", strempty(text));
}

static int read_pcrs(const json_t *object, PcrValues *ret, Reason *reason)
{
        const char *key;
        json_t *value;
        json_object_foreach((json_t *)object, key, value)
        {
                uint32_t pcr;
                if (parse_u32(key, 0, POLICY_PCR_COUNT - 1, &pcr) < 0 || ret->mask & 1U << pcr ||
                    !json_is_string(value) ||
                    hex_decode(json_string_value(value), ret->values[pcr], POLICY_DIGEST_SIZE) < 0)
                        return bad(reason, "\"pcrs\" are numbers 0 to 23 with SHA-256 values");
                ret->mask |= 1U << pcr;
        }
        return ret->mask != 0 ? 0 : bad(reason, "\"pcrs\" is empty");
}

static int read_counter(const char *index, json_int_t maximum, Policy *p, Reason *reason)
{
        uint8_t number[4];
        const char *digits = startswith(index, "0x");
        if (!digits || strlen(digits) != 2 * sizeof(number) ||
            hex_decode(digits, number, sizeof(number)) < 0 || number[0] != 0x01)
                return bad(reason, "\"index\" is no NV index such as 0x01800101");
        if (maximum < 0)
                return bad(reason, "\"maximum\" is negative");
        p->counter_index = (uint32_t)number[0] << 24 | (uint32_t)number[1] << 16 |
                           (uint32_t)number[2] << 8 | number[3];
        p->counter_maximum = (uint64_t)maximum;
        return 0;
}

static int read_signature(const char *hex, Policy *p, Reason *reason)
{
        if (!hex)
                return 0;
        _cleanup_free_ uint8_t *der = NULL;
        size_t len;
        if (hex_decode_new(hex, &der, &len) < 0 ||
            p256_signature_from_der(BYTES(der, len), p->signature) < 0)
                return bad(reason, "\"signature\" is no ECDSA signature in DER and hex");
        p->is_signed = true;
        return 0;
}

/* As it is written, to the letter: nothing around it, no certificate, no other encoding. */
static int read_key(const char *pem, uint8_t ret[static P256_POINT_SIZE], const char *otherwise,
                    Reason *reason)
{
        _cleanup_free_ char *again = NULL;
        if (p256_point_from_pem(pem, ret) == 0)
                again = p256_point_to_pem(ret);
        return again && streq(again, pem) ? 0 : bad(reason, otherwise);
}

/* What it approves, next to the counter. */
static int read_subject(const char *bank, const json_t *pcrs, const char *successor, Policy *p,
                        Reason *reason)
{
        p->hands_over = successor != NULL;
        if (p->hands_over && !bank && !pcrs)
                return read_key(successor, p->successor,
                                "\"successor\" is no P-256 public key in PEM", reason);
        if (p->hands_over || !bank || !pcrs || !streq(bank, "sha256"))
                return bad(reason,
                           "it takes \"pcr-bank\" sha256 and \"pcrs\", or \"successor\" alone");
        return read_pcrs(pcrs, &p->pcrs, reason);
}

/* The digest stands there for the reader; what counts is what follows from the rest. */
static int check_digest(const char *hex, const Policy *p, Reason *reason)
{
        uint8_t claimed[POLICY_DIGEST_SIZE], computed[POLICY_DIGEST_SIZE];
        if (hex_decode(hex, claimed, sizeof(claimed)) < 0 || policy_digest(p, computed) < 0 ||
            memcmp(claimed, computed, sizeof(claimed)) != 0)
                return bad(reason, "\"digest\" does not follow from the rest");
        return 0;
}

static int read_object(json_t *root, Policy *ret, Reason *reason)
{
        const char *format, *index, *ref, *digest, *key;
        const char *bank = NULL, *successor = NULL, *signature = NULL;
        json_t *pcrs = NULL;
        json_int_t maximum;
        json_error_t e;
        if (json_unpack_ex(root, &e, JSON_STRICT,
                           "{s:s, s?s, s?o, s?s, s:{s:s, s:I !}, s:s, s:s, s:s, s?s}", "format",
                           &format, "pcr-bank", &bank, "pcrs", &pcrs, "successor", &successor,
                           "counter", "index", &index, "maximum", &maximum, "policy-ref", &ref,
                           "digest", &digest, "operator-key", &key, "signature", &signature) < 0)
                return bad(reason, e.text);
        if (!streq(format, FORMAT) || !streq(ref, POLICY_REF))
                return bad(reason, "\"format\" or \"policy-ref\" is not one of ours");
        Policy p = { 0 };
        int r = read_subject(bank, pcrs, successor, &p, reason);
        if (r == 0)
                r = read_counter(index, maximum, &p, reason);
        if (r == 0)
                r = read_key(key, p.operator_point,
                             "\"operator-key\" is no P-256 public key in PEM", reason);
        if (r == 0)
                r = read_signature(signature, &p, reason);
        if (r == 0)
                r = check_digest(digest, &p, reason);
        if (r == 0)
                *ret = p;
        return r;
}

int policy_read(Bytes json, Policy *ret, Reason *reason)
{
        json_error_t e;
        json_t *root = json_loadb((const char *)json.data, json.len, JSON_REJECT_DUPLICATES, &e);
        if (!root)
                return bad(reason, e.text);
        int r = read_object(root, ret, reason);
        json_decref(root);
        return r;
}

int policy_load(const char *path, Policy *ret, Reason *reason)
{
        _cleanup_free_ uint8_t *data = NULL;
        size_t len;
        int r = file_read(path, POLICY_FILE_MAX, &data, &len);
        if (r < 0)
                return reason_set(reason, r, "Cannot read %s: %s", path, strerror(-r));
        return policy_read(BYTES(data, len), ret, reason);
}

static json_t *pcrs_to_json(const PcrValues *p)
{
        json_t *object = json_object();
        for (unsigned i = 0; i < POLICY_PCR_COUNT; i++) {
                char key[4], hex[2 * POLICY_DIGEST_SIZE + 1];
                if (!(p->mask & 1U << i))
                        continue;
                snprintf(key, sizeof(key), "%u", i);
                hex_encode(BYTES(p->values[i], POLICY_DIGEST_SIZE), hex);
                json_object_set_new(object, key, json_string(hex));
        }
        return object;
}

static json_t *signature_to_json(const Policy *p)
{
        uint8_t der[P256_DER_MAX];
        char hex[2 * P256_DER_MAX + 1];
        size_t len;
        if (!p->is_signed || p256_signature_to_der(p->signature, der, &len) < 0)
                return NULL;
        hex_encode(BYTES(der, len), hex);
        return json_string(hex);
}

static json_t *subject_to_json(const Policy *p)
{
        if (!p->hands_over)
                return json_pack("{s:s, s:o}", "pcr-bank", "sha256", "pcrs",
                                 pcrs_to_json(&p->pcrs));
        _cleanup_free_ char *pem = p256_point_to_pem(p->successor);
        return pem ? json_pack("{s:s}", "successor", pem) : NULL;
}

char *policy_to_json(const Policy *p)
{
        uint8_t digest[POLICY_DIGEST_SIZE];
        char hex[2 * POLICY_DIGEST_SIZE + 1], index[16];
        _cleanup_free_ char *pem = p256_point_to_pem(p->operator_point);
        if (!pem || p->counter_maximum > INT64_MAX || policy_digest(p, digest) < 0)
                return NULL;
        hex_encode(BYTES(digest, sizeof(digest)), hex);
        snprintf(index, sizeof(index), "0x%08x", p->counter_index);
        json_t *root = json_pack("{s:s}", "format", FORMAT), *subject = subject_to_json(p);
        json_t *rest =
                json_pack("{s:{s:s, s:I}, s:s, s:s, s:s, s:o*}", "counter", "index", index,
                          "maximum", (json_int_t)p->counter_maximum, "policy-ref", POLICY_REF,
                          "digest", hex, "operator-key", pem, "signature", signature_to_json(p));
        char *text = NULL;
        if (root && subject && rest && json_object_update(root, subject) == 0 &&
            json_object_update(root, rest) == 0)
                text = json_dumps(root, JSON_INDENT(2));
        json_decref(subject);
        json_decref(rest);
        json_decref(root);
        return text;
}

int policy_save(const Policy *p, const char *path, Reason *reason)
{
        _cleanup_free_ char *json = policy_to_json(p), *line = NULL;
        if (!json || asprintf(&line, "%s\n", json) < 0)
                return reason_set(reason, -EIO, "Cannot write the policy down");
        int r = file_write_atomic(path, bytes_from_str(line), 0600);
        if (r < 0)
                return reason_set(reason, r, "Cannot write %s: %s", path, strerror(-r));
        return 0;
}
