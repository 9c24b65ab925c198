/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Policies as arithmetic and as files; what the TPM makes of them is in test-identity.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <jansson.h>
#include <openssl/ec.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/wait.h>

#include "base/str.h"
#include "platform/operator-key.h"
#include "platform/tpm-policy.h"

static void test_pcrs(void **state)
{
        static const struct {
                const char *text;
                int error;
                uint32_t mask;
                const char *again;
        } cases[] = {
                { "0 2 4 7", 0, 0x95, "0 2 4 7" }, { "7 0 0", 0, 0x81, "0 7" },
                { " 23 ", 0, 1U << 23, "23" },     { "", -EINVAL, 0, NULL },
                { "24", -EINVAL, 0, NULL },        { "-1", -EINVAL, 0, NULL },
                { "0,2", -EINVAL, 0, NULL },       { "0x7", -EINVAL, 0, NULL },
        };
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint32_t mask = 0;
                assert_int_equal(pcrs_parse(cases[i].text, &mask), cases[i].error);
                assert_int_equal(mask, cases[i].mask);
                if (!cases[i].again)
                        continue;
                _cleanup_free_ char *again = pcrs_format(mask);
                assert_string_equal(again, cases[i].again);
        }
}

static Policy example_for(const EVP_PKEY *key)
{
        Policy p = { .pcrs.mask = 0x81, .counter_index = 0x01800101, .counter_maximum = 7 };
        memset(p.pcrs.values[0], 0x11, POLICY_DIGEST_SIZE);
        memset(p.pcrs.values[7], 0x77, POLICY_DIGEST_SIZE);
        assert_int_equal(p256_to_point(key, p.operator_point), 0);
        return p;
}

static Policy example(void)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        Policy p = example_for(key);
        EVP_PKEY_free(key);
        return p;
}

/* Each part of a policy is in its digest. */
static void test_digest(void **state)
{
        Policy p = example(), q;
        uint8_t a[POLICY_DIGEST_SIZE], b[POLICY_DIGEST_SIZE];
        assert_int_equal(policy_digest(&p, a), 0);
        for (int i = 0; i < 4; i++) {
                q = p;
                if (i == 0)
                        q.pcrs.values[7][31] ^= 1;
                else if (i == 1)
                        q.pcrs.mask |= 2;
                else if (i == 2)
                        q.counter_maximum++;
                else
                        q.counter_index++;
                assert_int_equal(policy_digest(&q, b), 0);
                assert_memory_not_equal(a, b, sizeof(a));
        }
        q = p;
        memset(q.pcrs.values[1], 0xff, POLICY_DIGEST_SIZE); /* not selected */
        assert_int_equal(policy_digest(&q, b), 0);
        assert_memory_equal(a, b, sizeof(a));
}

static void test_json(void **state)
{
        Policy p = example(), q;
        Reason reason = { 0 };
        _cleanup_free_ char *json = policy_to_json(&p);
        assert_non_null(json);
        if (policy_read(bytes_from_str(json), &q, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_memory_equal(&p, &q, sizeof(p));
        assert_int_equal(policy_verify(&q, &reason), -EBADMSG);
        /* Cut anywhere it is no policy. */
        for (size_t i = 0; i < strlen(json); i++)
                assert_int_equal(policy_read(BYTES(json, i), &q, &reason), -EBADMSG);
}

/* Its reason goes to the operator's terminal. */
static void assert_refused(Bytes json)
{
        Policy q, untouched;
        Reason reason = { 0 };
        memset(&untouched, 0xa5, sizeof(untouched));
        q = untouched;
        assert_int_equal(policy_read(json, &q, &reason), -EBADMSG);
        assert_memory_equal(&q, &untouched, sizeof(q));
        _cleanup_free_ char *shown = str_escape(bytes_from_str(reason.text), sizeof(reason.text));
        assert_string_equal(shown, reason.text);
}

static void replace_and_read(const char *json, const char *old, const char *new)
{
        _cleanup_free_ char *text = NULL;
        const char *at = strstr(json, old);
        assert_non_null(at);
        assert_true(asprintf(&text, "%.*s%s%s", (int)(at - json), json, new, at + strlen(old)) > 0);
        assert_refused(bytes_from_str(text));
}

static void test_bad_json(void **state)
{
        Policy p = example();
        _cleanup_free_ char *json = policy_to_json(&p);
        replace_and_read(json, "sallyport-policy-1", "sallyport-policy-2");
        replace_and_read(json, "\"sha256\"", "\"sha1\"");
        replace_and_read(json, "\"maximum\": 7", "\"maximum\": 8");
        replace_and_read(json, "\"maximum\": 7", "\"maximum\": -7");
        replace_and_read(json, "\"maximum\": 7", "\"maximum\": 7, \"maximum\": 7");
        replace_and_read(json, "\"maximum\": 7", "\"maximum\": 7, \"more\": 7");
        replace_and_read(json, "\"maximum\": 7", "\"maximum\": \"7\"");
        replace_and_read(json, "0x01800101", "0x81000001");
        replace_and_read(json, "0x01800101", "0x01800102");
        replace_and_read(json, POLICY_REF, "another use of this key");
        replace_and_read(json, "\"7\":", "\"24\":");
        replace_and_read(json, "\"7\":", "\"00\":");
        replace_and_read(json, "7777", "77");
        replace_and_read(json, "BEGIN PUBLIC KEY", "BEGIN SOMETHING");
        replace_and_read(json, "-----BEGIN", "text before the key\\n-----BEGIN");
        replace_and_read(json, "KEY-----\\n\"", "KEY-----\\nand after it\"");
        replace_and_read(json, "\"digest\"", "\"signature\": \"00\", \"digest\"");
}

/* What somebody writes who wants more than to be refused. */
static void test_hostile_json(void **state)
{
        static const char *const numbers[] = {
                "9223372036854775808",
                "18446744073709551623",
                "1e400",
                "7.0",
                "7e0",
                "-0.0",
                "07",
                "+7",
                "null",
                "true",
                "[7]",
                "{}",
                "9223372036854775807" /* one of ours, with another digest */,
        };
        Policy p = example();
        _cleanup_free_ char *json = policy_to_json(&p), *deep = NULL;
        for (size_t i = 0; i < ELEMENTSOF(numbers); i++) {
                char text[64];
                snprintf(text, sizeof(text), "\"maximum\": %s", numbers[i]);
                replace_and_read(json, "\"maximum\": 7", text);
        }
        replace_and_read(json, "0x01800101", "0x 1800101");
        replace_and_read(json, "0x01800101", "0x+1800101");
        replace_and_read(json, "0x01800101", "0x1800101");
        replace_and_read(json, "0x01800101", "0X01800101");
        replace_and_read(json, "0x01800101", "0x01800101\\u0000");
        replace_and_read(json, POLICY_REF, POLICY_REF "\\u0000");
        replace_and_read(json, "\"sha256\"", "\"sha256\\u0000\"");
        replace_and_read(json, "\"7\":", "\"7\": \"\", \"7\":");
        replace_and_read(json, "\"7\":", "\" 7\":");
        replace_and_read(json, "\"pcrs\": {", "\"pcrs\": [");
        replace_and_read(json, "\"format\"", "\"format\": \"sallyport-policy-1\", \"format\"");
        /* Keys and broken strings come back in sentences. */
        replace_and_read(json, "\"format\"", "\"\\u001b]0;title\\u0007\": 1, \"format\"");
        replace_and_read(json, "\"format\"",
                         "\"\xc2\x9b"
                         "2J\": 1, \"format\"");
        replace_and_read(json, "\"format\"",
                         "\"\xc2\x9b"
                         "2J\" 1, \"format\"");
        replace_and_read(json, "\"format\"", "\x1b[2J");
        size_t n = 32 * 1024;
        deep = malloc(n);
        memset(deep, '[', n);
        assert_refused(BYTES(deep, n));
        for (size_t i = 0; i + 5 <= n; i += 5)
                memcpy(deep + i, "{\"a\":", 5);
        assert_refused(BYTES(deep, n));
        assert_refused(BYTES(json, strlen(json) + 1)); /* and its NUL */
        assert_refused(BYTES(json, 0));
}

/* JSON has no greater integers; a TPM's counter may be any. */
static void test_greatest_counter(void **state)
{
        Policy p = example(), q;
        Reason reason;
        p.counter_maximum = INT64_MAX;
        _cleanup_free_ char *json = policy_to_json(&p);
        assert_int_equal(policy_read(bytes_from_str(json), &q, &reason), 0);
        assert_memory_equal(&p, &q, sizeof(p));
        p.counter_maximum++;
        assert_null(policy_to_json(&p));
        assert_int_equal(policy_save(&p, "/nonexistent", &reason), -EIO);
}

/* A process that has no terminal, and a standard input from which nothing comes: who asks there
 * waits for ever. What `f` returns. */
static int without_terminal(int (*f)(const void *argument), const void *argument)
{
        int silence[2], status;
        assert_int_equal(pipe(silence), 0);
        pid_t pid = fork();
        if (pid == 0) {
                alarm(10);
                setsid();
                dup2(silence[0], STDIN_FILENO);
                int r = f(argument);
                _exit(alarm(0) > 0 ? -r
                                   : ETIME); /* libcrypto waits until the alarm, and catches it */
        }
        assert_true(pid > 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        close(silence[0]);
        close(silence[1]);
        assert_true(WIFEXITED(status));
        return -WEXITSTATUS(status);
}

static char *encrypted_pem(EVP_PKEY *key)
{
        char *text;
        BIO *bio = BIO_new(BIO_s_mem());
        assert_int_equal(
                PEM_write_bio_PKCS8PrivateKey(bio, key, EVP_aes_256_cbc(), "secret", 6, NULL, NULL),
                1);
        long len = BIO_get_mem_data(bio, &text);
        text = strndup(text, (size_t)len);
        BIO_free(bio);
        return text;
}

static int read_policy(const void *json)
{
        Policy p;
        Reason reason;
        return policy_read(bytes_from_str(json), &p, &reason);
}

/* Nobody is asked for the pass phrase of a key that somebody put into a policy. */
static void test_encrypted_key_in_json(void **state)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        Policy p = example_for(key);
        _cleanup_free_ char *pem = encrypted_pem(key), *good = policy_to_json(&p);
        json_t *root = json_loads(good, 0, NULL);
        json_object_set_new(root, "operator-key", json_string(pem));
        _cleanup_free_ char *json = json_dumps(root, 0);
        json_decref(root);
        EVP_PKEY_free(key);
        assert_int_equal(without_terminal(read_policy, json), -EBADMSG);
}

static char *write_file(const char *text)
{
        char *path = strdup("/tmp/test-policy.XXXXXX");
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text, strlen(text)), strlen(text));
        close(fd);
        return path;
}

/* In PEM; freed with unlinked(). */
static char *private_file(EVP_PKEY *key)
{
        char *text;
        BIO *bio = BIO_new(BIO_s_mem());
        assert_int_equal(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
        assert_true(BIO_write(bio, "", 1) == 1);
        BIO_get_mem_data(bio, &text);
        char *path = write_file(text);
        BIO_free(bio);
        return path;
}

static void unlinked(char **path)
{
        unlink(*path);
        free(*path);
}

static void test_sign_with_file(void **state)
{
        EVP_PKEY *key = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256"),
                 *p384 = EVP_EC_gen("P-384");
        _cleanup_(unlinked) char *path = private_file(key), *other_path = private_file(other),
                                 *p384_path = private_file(p384);
        Policy p = example_for(key);
        Policy before = p;
        Reason reason;
        assert_int_equal(policy_sign(&p, other_path, &reason), -EINVAL);
        assert_int_equal(policy_sign(&p, p384_path, &reason), -EBADMSG);
        assert_int_equal(policy_sign(&p, "/nonexistent", &reason), -ENOENT);
        assert_int_equal(policy_sign(&p, "/", &reason), -EISDIR);
        assert_int_equal(policy_sign(&p, "/dev/zero", &reason), -EFBIG);
        assert_int_equal(policy_sign(&p, "/dev/null", &reason), -EBADMSG);
        assert_memory_equal(&p, &before, sizeof(p));
        assert_int_equal(policy_sign(&p, path, &reason), 0);
        assert_int_equal(policy_verify(&p, &reason), 0);
        p.counter_maximum++;
        assert_int_equal(policy_verify(&p, &reason), -EBADMSG);
        EVP_PKEY_free(key);
        EVP_PKEY_free(other);
        EVP_PKEY_free(p384);
}

/* Private or public, the point is the same. */
static void test_load_operator(void **state)
{
        EVP_PKEY *key = EVP_EC_gen("P-256"), *p384 = EVP_EC_gen("P-384");
        uint8_t point[P256_POINT_SIZE], loaded[P256_POINT_SIZE] = { 0 };
        Reason reason;
        assert_int_equal(p256_to_point(key, point), 0);
        _cleanup_free_ char *pem = p256_point_to_pem(point);
        _cleanup_(unlinked) char *public = write_file(pem), *private = private_file(key),
                                 *p384_path = private_file(p384);
        assert_int_equal(operator_key_load(public, loaded, &reason), 0);
        assert_memory_equal(loaded, point, sizeof(point));
        memset(loaded, 0, sizeof(loaded));
        assert_int_equal(operator_key_load(private, loaded, &reason), 0);
        assert_memory_equal(loaded, point, sizeof(point));
        memset(loaded, 0, sizeof(loaded));
        assert_int_equal(operator_key_load(p384_path, loaded, &reason), -EBADMSG);
        assert_int_equal(operator_key_load("/dev/zero", loaded, &reason), -EFBIG);
        assert_int_equal(loaded[0], 0);
        EVP_PKEY_free(key);
        EVP_PKEY_free(p384);
}

static int sign_unasked(const void *path)
{
        Policy p = example();
        Reason reason;
        return policy_sign(&p, path, &reason);
}

static int load_unasked(const void *path)
{
        uint8_t point[P256_POINT_SIZE];
        Reason reason;
        return operator_key_load(path, point, &reason);
}

/* The answers that a person gives are in the CLI's test. */
static void test_encrypted_file(void **state)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        _cleanup_free_ char *pem = encrypted_pem(key);
        _cleanup_(unlinked) char *path = write_file(pem);
        assert_int_equal(without_terminal(sign_unasked, path), -ENOTTY);
        assert_int_equal(without_terminal(load_unasked, path), -ENOTTY);
        EVP_PKEY_free(key);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_pcrs),
                cmocka_unit_test(test_digest),
                cmocka_unit_test(test_json),
                cmocka_unit_test(test_bad_json),
                cmocka_unit_test(test_hostile_json),
                cmocka_unit_test(test_greatest_counter),
                cmocka_unit_test(test_encrypted_key_in_json),
                cmocka_unit_test(test_sign_with_file),
                cmocka_unit_test(test_load_operator),
                cmocka_unit_test(test_encrypted_file),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
