/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The identity on a real (software) TPM. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <tss2/tss2_mu.h>
#include <tss2/tss2_sys.h>
#include <unistd.h>

#include "base/str.h"
#include "platform/crypto.h"
#include "platform/fiber.h"
#include "platform/file.h"
#include "platform/identity-internal.h"
#include "platform/identity-request.h"
#include "platform/tpm-templates.h"
#include "swtpm.h"

static const uint8_t digest[POLICY_DIGEST_SIZE] = { 1, 2, 3 };

static Identity *open_identity(Lab *lab)
{
        Identity *id = NULL;
        Reason reason = { 0 };
        if (identity_open(lab->tcti, lab->state, &id, &reason) < 0)
                fail_msg("%s", reason.text);
        return id;
}

static int verify_digest(const uint8_t *point, const uint8_t *d, const uint8_t *signature)
{
        uint8_t der[P256_DER_MAX];
        size_t len;
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = p256_from_point(point);
        _cleanup_(EVP_PKEY_CTX_freep) EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(key, NULL);
        assert_int_equal(p256_signature_to_der(signature, der, &len), 0);
        assert_int_equal(EVP_PKEY_verify_init(ctx), 1);
        return EVP_PKEY_verify(ctx, der, len, d, POLICY_DIGEST_SIZE);
}

static void test_sign(void **state)
{
        Lab *lab = *state;
        uint8_t signature[P256_SIGNATURE_SIZE];
        Reason reason = { 0 };
        lab_create_identity(lab, true);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        for (int i = 0; i < 20; i++) /* more often than there are slots in the TPM */
                if (identity_sign(id, digest, signature, &reason) < 0)
                        fail_msg("%s", reason.text);
        assert_int_equal(verify_digest(identity_point(id), digest, signature), 1);
        signature[3] ^= 1;
        assert_int_not_equal(verify_digest(identity_point(id), digest, signature), 1);
}

static void test_files(void **state)
{
        Lab *lab = *state;
        static const char *const names[] = { "identity.pub", "identity.priv", "ak.pub",
                                             "ak.priv",      "secret.pub",    "secret.priv",
                                             "storage.pub",  "identity.json" };
        struct stat st;
        lab_create_identity(lab, true);
        assert_int_equal(stat(lab_path(lab, "state/identity"), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0700);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char name[64];
                snprintf(name, sizeof(name), "state/identity/%s", names[i]);
                assert_int_equal(stat(lab_path(lab, name), &st), 0);
                assert_int_equal(st.st_mode & 0777, 0600);
        }
}

static void test_no_policy(void **state)
{
        Lab *lab = *state;
        Reason reason;
        lab_create_identity(lab, false);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        assert_int_equal(identity_n_policies(id), 0);
        assert_null(identity_policy(id, 0));
        assert_int_equal(identity_check(id, &reason), -ENOKEY);
        assert_non_null(strstr(reason.text, "No policy is installed"));
}

static void test_exists(void **state)
{
        Lab *lab = *state;
        Reason reason;
        IdentityParams params = { .tcti = lab->tcti, .state_directory = lab->state, .pcrs = 1 };
        lab_create_identity(lab, true);
        assert_int_equal(operator_key_load(lab->operator_path, params.operator_point, &reason), 0);
        assert_int_equal(identity_create(&params, &reason), -EEXIST);
        Identity *id = open_identity(lab);
        uint8_t before[P256_POINT_SIZE];
        memcpy(before, identity_point(id), sizeof(before));
        assert_int_equal(identity_check(id, &reason), 0);
        identity_free(id);
        params.force = true;
        assert_int_equal(identity_create(&params, &reason), 0);
        id = open_identity(lab);
        assert_memory_not_equal(before, identity_point(id), sizeof(before));
        identity_free(id);
        assert_int_equal(access(lab_path(lab, "state/identity.previous/identity.priv"), F_OK), 0);
        assert_int_equal(identity_create(&params, &reason), -EEXIST); /* keeps the first one */
}

static void test_pcr_change(void **state)
{
        Lab *lab = *state;
        Reason reason;
        Policy policy;
        lab_create_identity(lab, true);
        lab_extend_pcr(lab);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        for (int i = 0; i < 5; i++) { /* no slot leaks on the way out */
                assert_int_equal(identity_check(id, &reason), -EKEYREJECTED);
                assert_non_null(strstr(reason.text, "PCR 7 is "));
                assert_non_null(strstr(reason.text, ", the nearest policy wants "));
        }
        lab_sign_policy(lab, id, &policy);
        assert_int_equal(identity_install_policy(id, &policy, &reason), 0);
        assert_int_equal(identity_check(id, &reason), 0);
}

static void test_retired(void **state)
{
        Lab *lab = *state;
        Reason reason;
        Policy policy;
        uint64_t counter;
        lab_create_identity(lab, true);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        lab_sign_policy(lab, id, &policy);
        assert_int_equal(identity_retire_policies(id, &counter, &reason), 0);
        assert_int_equal(counter, policy.counter_maximum + 1);
        for (int i = 0; i < 5; i++)
                assert_int_equal(identity_check(id, &reason), -EKEYREVOKED);
        assert_non_null(strstr(reason.text, "retired"));
        lab_sign_policy(lab, id, &policy);
        assert_int_equal(identity_install_policy(id, &policy, &reason), 0);
        assert_int_equal(identity_check(id, &reason), 0);
}

/* The file of the one policy that is installed. */
static const char *policy_path(Lab *lab)
{
        char name[600] = "";
        DIR *d = opendir(lab_path(lab, "state/identity/policies"));
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));)
                if (e->d_name[0] != '.')
                        snprintf(name, sizeof(name), "state/identity/policies/%s", e->d_name);
        closedir(d);
        return lab_path(lab, name);
}

static int make_file(const char *path, off_t size)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        int r = fd < 0 ? -1 : ftruncate(fd, size);
        close(fd);
        return r;
}

/* What lies in a policy's place is a bad policy, and the TPM is not what is wrong. */
static void test_no_policy_file(void **state)
{
        Lab *lab = *state;
        Reason reason;
        lab_create_identity(lab, true);
        char *path = strdup(policy_path(lab));
        for (int i = 0; i < 3; i++) {
                assert_return_code(remove(path), errno);
                if (i == 0)
                        assert_return_code(mkdir(path, 0700), errno);
                else if (i == 1)
                        assert_return_code(symlink(path, path), errno);
                else
                        assert_return_code(make_file(path, 10 << 20), errno);
                Identity *id = open_identity(lab);
                assert_int_equal(identity_check(id, &reason), -EBADMSG);
                identity_free(id);
        }
        free(path);
}

/* One for now and one for after the update: both stay, whichever holds is used. */
static void test_several_policies(void **state)
{
        Lab *lab = *state;
        Reason reason;
        Policy now, later;
        uint64_t counter;
        lab_create_identity(lab, true);
        Identity *id = open_identity(lab);
        lab_sign_policy(lab, id, &now);
        identity_free(id);
        lab_extend_pcr(lab);
        id = open_identity(lab);
        lab_sign_policy(lab, id, &later);
        identity_free(id);

        /* Signed before the values are there. */
        lab_create_identity(lab, false);
        id = open_identity(lab);
        assert_int_equal(identity_install_policy(id, &now, &reason), 0);
        assert_int_equal(identity_check(id, &reason), -EKEYREJECTED);
        assert_int_equal(identity_install_policy(id, &later, &reason), 0);
        assert_int_equal(identity_install_policy(id, &later, &reason), 0);
        assert_int_equal(identity_n_policies(id), 2);
        assert_int_equal(identity_check(id, &reason), 0);
        identity_free(id);
        lab_extend_pcr(lab); /* neither */
        id = open_identity(lab);
        assert_int_equal(identity_check(id, &reason), -EKEYREJECTED);
        lab_sign_policy(lab, id, &later);
        later.counter_maximum++;
        assert_int_equal(policy_sign(&later, lab->operator_path, &reason), 0);
        assert_int_equal(identity_install_policy(id, &later, &reason), 0);
        assert_int_equal(identity_n_policies(id), 3);
        assert_int_equal(identity_check(id, &reason), 0);
        assert_int_equal(identity_retire_policies(id, &counter, &reason), 0);
        assert_int_equal(identity_n_policies(id), 1); /* the others are dead, and gone */
        assert_int_equal(identity_check(id, &reason), 0);
        identity_free(id);
        id = open_identity(lab);
        assert_int_equal(identity_n_policies(id), 1);
        identity_free(id);
}

/* Another operator: a key, and the file with its private half. */
static void make_operator(Lab *lab, const char *name, uint8_t point[static P256_POINT_SIZE])
{
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = EVP_EC_gen("P-256");
        FILE *f = fopen(lab_path(lab, name), "w");
        assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
        fclose(f);
        assert_int_equal(p256_to_point(key, point), 0);
}

static void hand_over(Lab *lab, Identity *id, const char *signer, const uint8_t *from,
                      const uint8_t *to, uint64_t maximum, Policy *ret)
{
        Reason reason;
        *ret = (Policy){ .hands_over = true,
                         .counter_index = identity_counter_index(id),
                         .counter_maximum = maximum };
        memcpy(ret->operator_point, from, P256_POINT_SIZE);
        memcpy(ret->successor, to, P256_POINT_SIZE);
        if (policy_sign(ret, lab_path(lab, signer), &reason) < 0)
                fail_msg("%s", reason.text);
}

/* The operator's key is followed by another one, and that by a third; the TPM checks all of it. */
static void test_hand_over(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        Policy old, first, second, third;
        uint8_t b[P256_POINT_SIZE], c[P256_POINT_SIZE], secret[IDENTITY_SECRET_SIZE];
        uint64_t counter;
        lab_create_identity(lab, true);
        Identity *id = open_identity(lab);
        make_operator(lab, "b.key", b);
        make_operator(lab, "c.key", c);
        lab_sign_policy(lab, id, &old);
        hand_over(lab, id, "operator.key", identity_operator_point(id), b, INT64_MAX, &first);
        hand_over(lab, id, "b.key", b, c, old.counter_maximum + 1, &second);
        third = old;
        memcpy(third.operator_point, c, sizeof(c));
        assert_int_equal(policy_sign(&third, lab_path(lab, "c.key"), &reason), 0);
        identity_free(id);

        lab_create_identity(lab, false);
        id = open_identity(lab);
        assert_int_equal(identity_install_policy(id, &third, &reason), -EBADMSG);
        assert_non_null(strstr(reason.text, "no policy hands over to it"));
        assert_int_equal(identity_install_policy(id, &second, &reason), -EBADMSG);
        assert_int_equal(identity_install_policy(id, &first, &reason), 0);
        assert_int_equal(identity_check(id, &reason), -ENOKEY);
        assert_int_equal(identity_install_policy(id, &third, &reason), -EBADMSG);
        assert_int_equal(identity_install_policy(id, &second, &reason), 0);
        assert_memory_equal(identity_present_operator(id), c, sizeof(c));
        assert_int_equal(identity_install_policy(id, &third, &reason), 0);
        if (identity_check(id, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(identity_secret(id, "label", secret, &reason), 0);
        identity_free(id);
        id = open_identity(lab);
        assert_int_equal(identity_n_policies(id), 3);
        assert_int_equal(identity_check(id, &reason), 0);

        /* A hand-over that nobody signed: not for us, and not for the TPM. */
        IdentityPolicy *link = identity_handover(id, c);
        assert_non_null(link);
        Esys_Free(TAKE_PTR(link->ticket));
        link->policy.signature[3] ^= 1;
        assert_int_equal(identity_check(id, &reason), -EBADMSG);
        link->policy.signature[3] ^= 1;
        assert_int_equal(identity_check(id, &reason), 0);

        /* The second hand-over is retired by the counter, and what stands on it is dead. */
        assert_int_equal(identity_retire_policies(id, &counter, &reason), 0);
        assert_int_equal(identity_retire_policies(id, &counter, &reason), 0);
        assert_true(identity_check(id, &reason) < 0);
        assert_int_equal(identity_n_policies(id), 1);
        identity_free(id);
}

/* With a digest behind that of `other`: the files are read in that order. */
static void hand_over_behind(Lab *lab, Identity *id, const uint8_t *to, const Policy *other,
                             Policy *ret)
{
        uint8_t first[POLICY_DIGEST_SIZE], second[POLICY_DIGEST_SIZE] = { 0 };
        assert_int_equal(policy_digest(other, first), 0);
        for (uint64_t maximum = INT64_MAX; memcmp(second, first, sizeof(first)) <= 0; maximum--) {
                hand_over(lab, id, "operator.key", identity_operator_point(id), to, maximum, ret);
                assert_int_equal(policy_digest(ret, second), 0);
        }
}

/* One way to the third operator ends with the counter, another goes on; then that is the way. */
static void test_two_ways_of_hand_over(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        Policy now, first, second, direct, third;
        PcrValues pcrs;
        uint8_t b[P256_POINT_SIZE], c[P256_POINT_SIZE];
        uint64_t counter;
        lab_create_identity(lab, true);
        Identity *id = open_identity(lab);
        make_operator(lab, "b.key", b);
        make_operator(lab, "c.key", c);
        lab_sign_policy(lab, id, &now);
        hand_over(lab, id, "operator.key", identity_operator_point(id), b, now.counter_maximum,
                  &first);
        hand_over(lab, id, "b.key", b, c, INT64_MAX, &second);
        hand_over_behind(lab, id, c, &second, &direct);
        third = now;
        third.counter_maximum += 10;
        memcpy(third.operator_point, c, sizeof(c));
        assert_int_equal(policy_sign(&third, lab_path(lab, "c.key"), &reason), 0);
        identity_free(id);

        lab_create_identity(lab, false);
        id = open_identity(lab);
        assert_int_equal(identity_install_policy(id, &first, &reason), 0);
        assert_int_equal(identity_install_policy(id, &second, &reason), 0);
        assert_int_equal(identity_install_policy(id, &third, &reason), 0);
        assert_int_equal(identity_check(id, &reason), 0);
        /* So far all of it ends with the first hand-over, and that is known beforehand. */
        assert_int_equal(identity_read_pcrs(id, identity_pcrs(id), &pcrs, &reason), 0);
        for (size_t i = 0; i < 3; i++) {
                assert_int_equal(identity_policy_maximum(id, i), now.counter_maximum);
                assert_int_equal(identity_policy_fits(id, i, &pcrs, now.counter_maximum + 1),
                                 POLICY_RETIRED);
        }
        assert_int_equal(identity_install_policy(id, &direct, &reason), 0);
        assert_int_equal(identity_retire_policies(id, &counter, &reason), 0);
        assert_int_equal(counter, now.counter_maximum + 1);
        if (identity_check(id, &reason) < 0)
                fail_msg("%s", reason.text);
        /* A hand-over that is retired already gives nobody anything, and takes nothing away. */
        assert_int_equal(identity_install_policy(id, &first, &reason), 0);
        assert_int_equal(identity_install_policy(id, &second, &reason), 0);
        assert_int_equal(identity_check(id, &reason), 0);
        identity_free(id);
}

/* For want of a descriptor nobody forgets the policies that are there. */
static void test_reload_fails(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        struct rlimit before, none;
        lab_create_identity(lab, true);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        Policy now;
        lab_sign_policy(lab, id, &now);
        assert_int_equal(identity_install_policy(id, &now, &reason), 0);
        assert_int_equal(identity_check(id, &reason), 0);
        size_t n = identity_n_policies(id);
        int next = dup(STDERR_FILENO);
        close(next);
        assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
        /* None, and then one: for the directory, and not for a file in it. */
        for (int free = 0; free < 2; free++) {
                none = (struct rlimit){ (rlim_t)(next + free), before.rlim_max };
                assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
                assert_int_equal(identity_reload_policies(id, &reason), free ? 0 : -EMFILE);
                assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
                assert_int_equal(identity_n_policies(id), n);
                assert_int_equal(identity_check(id, &reason), 0);
        }
}

static void forget_policies_by(Lab *lab, const uint8_t *point)
{
        Policy p;
        Reason reason;
        char name[200];
        DIR *d = opendir(lab_path(lab, "state/identity/policies"));
        assert_non_null(d);
        for (struct dirent *e; (e = readdir(d));) {
                snprintf(name, sizeof(name), "state/identity/policies/%.150s", e->d_name);
                if (e->d_name[0] != '.' && policy_load(lab_path(lab, name), &p, &reason) == 0 &&
                    memcmp(p.operator_point, point, P256_POINT_SIZE) == 0)
                        assert_int_equal(unlink(lab_path(lab, name)), 0);
        }
        closedir(d);
}

/* Among hand-overs that lead round in a circle the way back to the first key is found, whichever
 * file is read first; and those that nobody of ours began count for nothing. */
static void test_hand_over_and_back(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        Policy p, links[6];
        uint8_t points[4][P256_POINT_SIZE];
        static const char *const keys[] = { "operator.key", "b.key", "c.key", "d.key" };
        static const uint8_t from[] = { 0, 1, 2, 2, 3, 3 }, to[] = { 1, 2, 1, 3, 1, 2 };
        lab_create_identity(lab, true);
        Identity *id = open_identity(lab);
        lab_sign_policy(lab, id, &p);
        memcpy(points[0], identity_operator_point(id), P256_POINT_SIZE);
        for (int i = 1; i < 4; i++)
                make_operator(lab, keys[i], points[i]);
        for (int i = 0; i < 6; i++)
                hand_over(lab, id, keys[from[i]], points[from[i]], points[to[i]], INT64_MAX,
                          &links[i]);
        identity_free(id);

        lab_create_identity(lab, false);
        id = open_identity(lab);
        for (int i = 0; i < 6; i++)
                if (identity_install_policy(id, &links[i], &reason) < 0)
                        fail_msg("%d %s", i, reason.text);
        memcpy(p.operator_point, points[3], P256_POINT_SIZE);
        assert_int_equal(policy_sign(&p, lab_path(lab, keys[3]), &reason), 0);
        assert_int_equal(identity_install_policy(id, &p, &reason), 0);
        assert_int_equal(identity_n_policies(id), 7);
        if (identity_check(id, &reason) < 0)
                fail_msg("%s", reason.text);
        identity_free(id);

        /* Without the first of them the others approve each other, and that is all. */
        id = open_identity(lab);
        assert_int_equal(identity_n_policies(id), 7);
        identity_free(id);
        forget_policies_by(lab, points[0]);
        id = open_identity(lab);
        assert_int_equal(identity_n_policies(id), 0);
        identity_free(id);
}

/* The same for the same label, after a restart too; another for another; none without a policy. */
static void test_secret(void **state)
{
        Lab *lab = *state;
        Reason reason;
        uint8_t a[IDENTITY_SECRET_SIZE], b[IDENTITY_SECRET_SIZE], c[IDENTITY_SECRET_SIZE];
        lab_create_identity(lab, true);
        Identity *id = open_identity(lab);
        if (identity_secret(id, "one", a, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(identity_secret(id, "two", b, &reason), 0);
        assert_memory_not_equal(a, b, sizeof(a));
        assert_int_equal(identity_check(id, &reason), 0); /* the keys came back */
        identity_free(id);
        id = open_identity(lab);
        assert_int_equal(identity_secret(id, "one", c, &reason), 0);
        assert_memory_equal(a, c, sizeof(a));
        identity_free(id);
        lab_extend_pcr(lab);
        id = open_identity(lab);
        assert_int_equal(identity_secret(id, "one", b, &reason), -EKEYREJECTED);
        assert_int_equal(identity_check(id, &reason), -EKEYREJECTED);
        uint64_t counter;
        assert_int_equal(identity_read_counter(id, &counter, &reason), 0);
        identity_free(id);
        lab_create_identity(lab, true);
        id = open_identity(lab);
        assert_int_equal(identity_secret(id, "one", c, &reason), 0);
        assert_memory_not_equal(a, c, sizeof(a));
        identity_free(id);
}

static void test_forged_policy(void **state)
{
        Lab *lab = *state;
        Reason reason;
        Policy policy;
        lab_create_identity(lab, true);
        Identity *id = open_identity(lab);
        lab_sign_policy(lab, id, &policy);
        policy.signature[5] ^= 1;
        assert_int_equal(identity_install_policy(id, &policy, &reason), -EBADMSG);
        policy.signature[5] ^= 1;
        policy.counter_maximum += 1000; /* what an attacker would like to sign */
        assert_int_equal(identity_install_policy(id, &policy, &reason), -EBADMSG);
        assert_int_equal(identity_check(id, &reason), 0); /* the good one is still in force */

        /* Past our own check, the TPM does not believe it either. */
        policy.counter_maximum -= 1000;
        IdentityPolicy *installed = &id->policies[0];
        installed->policy.signature[5] ^= 1;
        Esys_Free(TAKE_PTR(installed->ticket));
        for (int i = 0; i < 5; i++)
                assert_int_equal(identity_check(id, &reason), -EBADMSG);

        /* A ticket for another policy opens nothing. */
        installed->policy = policy;
        assert_int_equal(identity_check(id, &reason), 0);
        installed->policy.counter_maximum += 1000;
        assert_int_equal(identity_check(id, &reason), -EIO);
        identity_free(id);

        /* Written into the file behind our back. */
        policy.counter_maximum += 1000;
        assert_int_equal(policy_save(&policy, policy_path(lab), &reason), 0);
        id = open_identity(lab);
        assert_int_equal(identity_check(id, &reason), -EBADMSG);
        assert_non_null(strstr(reason.text, "not by the operator key"));
        identity_free(id);
}

/* A signature with what `session` proves; there must be none. */
static TSS2_RC try_to_sign(Identity *id, ESYS_TR key, ESYS_TR session)
{
        static const TPMT_SIG_SCHEME scheme = { .scheme = TPM2_ALG_ECDSA,
                                                .details.ecdsa.hashAlg = TPM2_ALG_SHA256 };
        static const TPMT_TK_HASHCHECK any = { .tag = TPM2_ST_HASHCHECK,
                                               .hierarchy = TPM2_RH_NULL };
        TPM2B_DIGEST d = { .size = sizeof(digest) };
        TPMT_SIGNATURE *s = NULL;
        TSS2_RC rc = Esys_Sign(tpm_esys(id->tpm), key, session, ESYS_TR_NONE, ESYS_TR_NONE, &d,
                               &scheme, &any, &s);
        assert_null(s);
        return tpm_rc_base(rc);
}

static ESYS_TR start_session(Identity *id, ESYS_TR bind, TPM2_SE type)
{
        static const TPMT_SYM_DEF none = { .algorithm = TPM2_ALG_NULL };
        ESYS_TR session = ESYS_TR_NONE;
        assert_int_equal(Esys_StartAuthSession(tpm_esys(id->tpm), ESYS_TR_NONE, bind, ESYS_TR_NONE,
                                               ESYS_TR_NONE, ESYS_TR_NONE, NULL, type, &none,
                                               TPM2_ALG_SHA256, &session),
                         0);
        return session;
}

/* Who knows the key's authValue, whichever it is, cannot sign. */
static void try_every_session(Identity *id, ESYS_TR key)
{
        ESYS_CONTEXT *esys = tpm_esys(id->tpm);
        assert_int_equal(try_to_sign(id, key, ESYS_TR_PASSWORD), TPM2_RC_AUTH_UNAVAILABLE);
        const ESYS_TR binds[] = { ESYS_TR_NONE, key };
        for (size_t i = 0; i < ELEMENTSOF(binds); i++) {
                ESYS_TR session = start_session(id, binds[i], TPM2_SE_HMAC);
                assert_int_equal(try_to_sign(id, key, session), TPM2_RC_AUTH_UNAVAILABLE);
                Esys_FlushContext(esys, session);
        }
        /* Policy sessions in which nothing, the authValue or the command was proved. */
        for (int i = 0; i < 4; i++) {
                ESYS_TR session = start_session(id, ESYS_TR_NONE, TPM2_SE_POLICY);
                TSS2_RC rc = 0;
                if (i == 1)
                        rc = Esys_PolicyPassword(esys, session, ESYS_TR_NONE, ESYS_TR_NONE,
                                                 ESYS_TR_NONE);
                else if (i == 2)
                        rc = Esys_PolicyAuthValue(esys, session, ESYS_TR_NONE, ESYS_TR_NONE,
                                                  ESYS_TR_NONE);
                else if (i == 3)
                        rc = Esys_PolicyCommandCode(esys, session, ESYS_TR_NONE, ESYS_TR_NONE,
                                                    ESYS_TR_NONE, TPM2_CC_Sign);
                assert_int_equal(rc, 0);
                assert_int_equal(try_to_sign(id, key, session), TPM2_RC_POLICY_FAIL);
                Esys_FlushContext(esys, session);
        }
}

static ESYS_TR load_below(Identity *id, ESYS_TR parent, const TPM2B_PRIVATE *priv, TSS2_RC *ret_rc)
{
        ESYS_TR key = ESYS_TR_NONE;
        *ret_rc = tpm_rc_base(Esys_Load(tpm_esys(id->tpm), parent, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                        ESYS_TR_NONE, priv, &id->files.key.pub, &key));
        return key;
}

/* Moved to another parent in another hierarchy: the blob does not load there. */
static void try_another_hierarchy(Identity *id)
{
        static const TPM2B_SENSITIVE_CREATE sensitive = { 0 };
        static const TPM2B_DATA outside = { 0 };
        static const TPML_PCR_SELECTION pcrs = { 0 };
        ESYS_TR parent;
        TSS2_RC rc;
        assert_int_equal(Esys_CreatePrimary(tpm_esys(id->tpm), ESYS_TR_RH_NULL, ESYS_TR_PASSWORD,
                                            ESYS_TR_NONE, ESYS_TR_NONE, &sensitive,
                                            &template_storage, &outside, &pcrs, &parent, NULL, NULL,
                                            NULL, NULL),
                         0);
        load_below(id, parent, &id->files.key.priv, &rc);
        assert_int_equal(rc, TPM2_RC_INTEGRITY);
        identity_tpm_flush(id->tpm, parent);
}

/* The ADMIN role needs no policy: whoever is at the TPM with the blob may make one with another
 * authValue. It is the same key, and signs no more than before. */
static void try_another_password(Identity *id, ESYS_TR storage)
{
        ESYS_CONTEXT *esys = tpm_esys(id->tpm);
        const TPM2B_AUTH password = { .size = 4, .buffer = "open" };
        _cleanup_esys_ TPM2B_PRIVATE *changed = NULL;
        TSS2_RC rc;
        assert_int_equal(Esys_ObjectChangeAuth(esys, id->key, storage, ESYS_TR_PASSWORD,
                                               ESYS_TR_NONE, ESYS_TR_NONE, &password, &changed),
                         0);
        ESYS_TR key = load_below(id, storage, changed, &rc);
        assert_int_equal(rc, 0);
        assert_int_equal(Esys_TR_SetAuth(esys, key, &password), 0);
        try_every_session(id, key);
        identity_tpm_flush(id->tpm, key);
}

/* To somewhere where it could be opened. */
static void try_to_duplicate(Identity *id, ESYS_TR storage)
{
        static const TPMT_SYM_DEF_OBJECT unwrapped = { .algorithm = TPM2_ALG_NULL };
        TPM2B_PRIVATE *copy = NULL;
        TPM2B_DATA *wrap = NULL;
        TPM2B_ENCRYPTED_SECRET *secret = NULL;
        const ESYS_TR parents[] = { storage, ESYS_TR_NONE };
        for (size_t i = 0; i < ELEMENTSOF(parents); i++) {
                assert_int_not_equal(Esys_Duplicate(tpm_esys(id->tpm), id->key, parents[i],
                                                    ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE,
                                                    NULL, &unwrapped, &wrap, &copy, &secret),
                                     0);
                assert_null(copy);
        }
}

/* Every way that is not the policy. */
static void test_no_other_way(void **state)
{
        Lab *lab = *state;
        Reason reason;
        ESYS_TR storage;
        lab_create_identity(lab, true);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        assert_int_equal(identity_check(id, &reason), 0);
        identity_tpm_flush(id->tpm, id->ak); /* its slot is needed below */
        id->ak = ESYS_TR_NONE;
        try_every_session(id, id->key);
        try_another_hierarchy(id);
        TPM2B_PUBLIC pub;
        assert_int_equal(identity_tpm_create_storage(id->tpm, &storage, &pub, &reason), 0);
        try_another_password(id, storage);
        try_to_duplicate(id, storage);
        identity_tpm_flush(id->tpm, storage);
        assert_int_equal(identity_check(id, &reason), 0);
}

/* It is signed by the attestation key. */
static void verify_attestation(Identity *id, const IdentityAttestation *a)
{
        TPMT_SIGNATURE sig;
        size_t used = 0;
        assert_int_equal(
                Tss2_MU_TPMT_SIGNATURE_Unmarshal(a->signature, a->signature_len, &used, &sig), 0);
        assert_int_equal(used, a->signature_len);
        uint8_t d[32], raw[P256_SIGNATURE_SIZE] = { 0 };
        memcpy(raw + 32 - sig.signature.ecdsa.signatureR.size,
               sig.signature.ecdsa.signatureR.buffer, sig.signature.ecdsa.signatureR.size);
        memcpy(raw + 64 - sig.signature.ecdsa.signatureS.size,
               sig.signature.ecdsa.signatureS.buffer, sig.signature.ecdsa.signatureS.size);
        assert_int_equal(crypto_sha256(BYTES(a->attest, a->attest_len), d), 0);
        assert_int_equal(verify_digest(identity_attestation_point(id), d, raw), 1);
}

static void test_quote(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        static IdentityAttestation a;
        lab_create_identity(lab, false);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        Bytes nonce = BYTES_LITERAL("a nonce of the verifier");
        if (identity_quote(id, nonce, &a, &reason) < 0)
                fail_msg("%s", reason.text);
        TPMS_ATTEST attest;
        size_t used = 0;
        assert_int_equal(Tss2_MU_TPMS_ATTEST_Unmarshal(a.attest, a.attest_len, &used, &attest), 0);
        assert_int_equal(used, a.attest_len);
        assert_int_equal(attest.magic, TPM2_GENERATED_VALUE);
        assert_true(bytes_equal(BYTES(attest.extraData.buffer, attest.extraData.size), nonce));
        assert_int_equal(a.pcrs.mask, 0x95);
        verify_attestation(id, &a);

        uint8_t many[IDENTITY_NONCE_MAX + 1] = { 0 };
        assert_int_equal(identity_quote(id, BYTES(many, sizeof(many)), &a, &reason), -ERANGE);
        assert_int_equal(identity_quote(id, BYTES(many, 64), &a, &reason), 0);
        assert_int_equal(identity_quote(id, BYTES(NULL, 0), &a, &reason), 0);
}

static void test_certify(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        static IdentityAttestation a;
        lab_create_identity(lab, false);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        if (identity_certify(id, BYTES_LITERAL("nonce"), &a, &reason) < 0)
                fail_msg("%s", reason.text);
        TPMS_ATTEST attest;
        size_t used = 0, len = 0;
        uint8_t area[512], name[32];
        assert_int_equal(Tss2_MU_TPMS_ATTEST_Unmarshal(a.attest, a.attest_len, &used, &attest), 0);
        assert_int_equal(attest.type, TPM2_ST_ATTEST_CERTIFY);
        assert_int_equal(Tss2_MU_TPMT_PUBLIC_Marshal(&id->files.key.pub.publicArea, area,
                                                     sizeof(area), &len),
                         0);
        assert_int_equal(crypto_sha256(BYTES(area, len), name), 0);
        assert_memory_equal(attest.attested.certify.name.name + 2, name, sizeof(name));
        assert_true(bytes_equal(BYTES(attest.extraData.buffer, attest.extraData.size),
                                BYTES_LITERAL("nonce")));
        verify_attestation(id, &a);
}

/* Each file cut short, changed and missing: a sentence, no key, no crash. */
static void test_damaged_files(void **state)
{
        Lab *lab = *state;
        static const char *const names[] = { "identity.pub", "identity.priv", "ak.pub", "ak.priv",
                                             "identity.json" };
        lab_create_identity(lab, true);
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                char name[64], path[128];
                Identity *id = NULL;
                Reason reason = { 0 };
                _cleanup_free_ uint8_t *data = NULL;
                size_t len;
                snprintf(name, sizeof(name), "state/identity/%s", names[i]);
                snprintf(path, sizeof(path), "%s", lab_path(lab, name));
                assert_int_equal(file_read(path, 16384, &data, &len), 0);
                assert_int_equal(file_write_atomic(path, BYTES(data, len / 2), 0600), 0);
                assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), -EBADMSG);
                assert_non_null(strstr(reason.text, "damaged"));
                unlink(path);
                assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), -ENOENT);
                assert_int_equal(file_write_atomic(path, BYTES(data, len), 0600), 0);
        }
        identity_free(open_identity(lab));
}

/* A blob whose policy or attributes are weaker than those of an identity. */
static void test_weak_key(void **state)
{
        Lab *lab = *state;
        Reason reason;
        Identity *id = NULL;
        lab_create_identity(lab, false);
        IdentityFiles files;
        const char *dir = lab_path(lab, "state/identity");
        assert_int_equal(identity_files_read(dir, &files, &reason), 0);
        files.key.pub.publicArea.objectAttributes |= TPMA_OBJECT_USERWITHAUTH;
        assert_int_equal(identity_files_write(dir, &files, &reason), 0);
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), -EBADMSG);
        assert_non_null(strstr(reason.text, "policy alone"));
        files.key.pub.publicArea.objectAttributes &= ~TPMA_OBJECT_USERWITHAUTH;
        /* Of a version that asked for a policy to certify it: no report could be made. */
        files.key.pub.publicArea.objectAttributes |= TPMA_OBJECT_ADMINWITHPOLICY;
        assert_int_equal(identity_files_write(dir, &files, &reason), 0);
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), -EBADMSG);
        files.key.pub.publicArea.objectAttributes &= ~TPMA_OBJECT_ADMINWITHPOLICY;
        files.operator_point[0] = 4;
        assert_int_equal(p256_to_point(lab->ca_key, files.operator_point), 0);
        assert_int_equal(identity_files_write(dir, &files, &reason), 0);
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), -EBADMSG);
}

/* Somebody else's object where our counter should be. */
static void open_tpm(Lab *lab, Tpm **ret)
{
        Reason reason;
        ESYS_TR storage;
        TPM2B_PUBLIC pub;
        assert_int_equal(tpm_open(lab->tcti, ret, &reason), 0);
        assert_int_equal(identity_tpm_create_storage(*ret, &storage, &pub, &reason), 0);
        assert_int_equal(tpm_session_start(*ret, storage, &reason), 0);
        identity_tpm_flush(*ret, storage);
}

static void test_foreign_counter(void **state)
{
        Lab *lab = *state;
        Reason reason;
        lab_create_identity(lab, false);
        Tpm *tpm = NULL;
        ESYS_TR nv;
        TPM2B_AUTH none = { 0 };
        TPM2B_NV_PUBLIC ordinary = { .nvPublic = { .nvIndex = IDENTITY_COUNTER_INDEX,
                                                   .nameAlg = TPM2_ALG_SHA256,
                                                   .attributes = TPMA_NV_OWNERWRITE |
                                                                 TPMA_NV_OWNERREAD |
                                                                 TPMA_NV_AUTHREAD,
                                                   .dataSize = 8 } };
        open_tpm(lab, &tpm);
        ESYS_CONTEXT *esys = tpm_esys(tpm);
        assert_int_equal(identity_tpm_open_counter(tpm, IDENTITY_COUNTER_INDEX, &nv, &reason), 0);
        assert_int_equal(Esys_NV_UndefineSpace(esys, ESYS_TR_RH_OWNER, nv, ESYS_TR_PASSWORD,
                                               ESYS_TR_NONE, ESYS_TR_NONE),
                         0);
        assert_int_equal(Esys_NV_DefineSpace(esys, ESYS_TR_RH_OWNER, ESYS_TR_PASSWORD, ESYS_TR_NONE,
                                             ESYS_TR_NONE, &none, &ordinary, &nv),
                         0);
        uint64_t value;
        assert_int_equal(identity_tpm_create_counter(tpm, IDENTITY_COUNTER_INDEX, &value, &reason),
                         -EEXIST);
        assert_non_null(strstr(reason.text, "not ours"));
        Identity *id = NULL;
        tpm_free(tpm);
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), -EEXIST);
        assert_int_equal(tpm_open(lab->tcti, &tpm, &reason), 0);
        assert_int_equal(Esys_TR_FromTPMPublic(tpm_esys(tpm), IDENTITY_COUNTER_INDEX, ESYS_TR_NONE,
                                               ESYS_TR_NONE, ESYS_TR_NONE, &nv),
                         0);
        assert_int_equal(Esys_NV_UndefineSpace(tpm_esys(tpm), ESYS_TR_RH_OWNER, nv,
                                               ESYS_TR_PASSWORD, ESYS_TR_NONE, ESYS_TR_NONE),
                         0);
        tpm_free(tpm);
        assert_int_equal(identity_open(lab->tcti, lab->state, &id, &reason), -ENXIO);
        assert_non_null(strstr(reason.text, "no counter at"));
}

static int install(Lab *lab, Identity *id, X509 *x, const char *ca, Reason *reason)
{
        const char *path = lab_path(lab, "new.crt");
        lab_write_certificate(lab, path, x);
        return identity_install_certificate(id, path, ca, reason);
}

static void test_certificates(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        IdentityCertificate c;
        Credential *credential = NULL;
        lab_create_identity(lab, true);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        assert_int_equal(identity_certificate(id, &c, &reason), -ENOENT);
        assert_int_equal(identity_credential(id, &credential, &reason), -ENOENT);

        const LabCertificate good = { .is_ca = true, .from = -60, .to = 3600 };
        _cleanup_(X509_freep) X509 *x = lab_certify(lab, identity_pkey(id), &good);
        if (install(lab, id, x, NULL, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(identity_certificate(id, &c, &reason), 0);
        assert_true(c.is_ca);
        assert_int_equal(c.path_length, 0);
        assert_int_equal(c.chain_length, 1);
        assert_string_equal(c.subject, "CN=gateway-1");

        /* Bad ones leave it alone. */
        _cleanup_(X509_freep) X509 *other = lab_certify(lab, lab->operator_key, &good);
        assert_int_equal(install(lab, id, other, NULL, &reason), -EBADMSG);
        assert_non_null(strstr(reason.text, "not for the key"));
        static const LabCertificate expired = { .from = -7200, .to = -3600 };
        _cleanup_(X509_freep) X509 *old = lab_certify(lab, identity_pkey(id), &expired);
        assert_int_equal(install(lab, id, old, NULL, &reason), -EBADMSG);
        assert_non_null(strstr(reason.text, "expired"));
        static const LabCertificate future = { .from = 3600, .to = 7200 };
        _cleanup_(X509_freep) X509 *early = lab_certify(lab, identity_pkey(id), &future);
        assert_int_equal(install(lab, id, early, NULL, &reason), -EBADMSG);
        assert_non_null(strstr(reason.text, "not yet valid"));
        assert_int_equal(identity_install_certificate(id, lab->operator_path, NULL, &reason),
                         -EBADMSG);
        /* A CA of somebody else as the anchor. */
        const char *foreign = lab_path(lab, "foreign.crt");
        lab_write_certificate(lab, foreign, other);
        FILE *f = fopen(foreign, "w");
        assert_int_equal(PEM_write_X509(f, other), 1);
        fclose(f);
        assert_int_equal(install(lab, id, x, foreign, &reason), -EBADMSG);

        assert_int_equal(identity_certificate(id, &c, &reason), 0);
        assert_true(c.is_ca);
        identity_free(id);
        id = open_identity(lab);
        assert_int_equal(identity_certificate(id, &c, &reason), 0);
        assert_string_equal(c.issuer, "CN=Test CA");
        assert_int_equal(identity_credential(id, &credential, &reason), 0);
        assert_true(credential_in_tpm(credential));
        credential_unref(credential);
}

static void test_csr(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        _cleanup_free_ char *pem = NULL;
        static const char *const names[] = { "gw.example", "192.0.2.1", "2001:db8::1" };
        static const char *const bad[] = { "not a name" };
        IdentityRequest q = { .common_name = "gw", .names = names, .n_names = ELEMENTSOF(names) };
        lab_create_identity(lab, true);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        if (identity_csr(id, &q, &pem, &reason) < 0)
                fail_msg("%s", reason.text);
        _cleanup_(BIO_freep) BIO *bio = BIO_new_mem_buf(pem, -1);
        _cleanup_(X509_REQ_freep) X509_REQ *req = PEM_read_bio_X509_REQ(bio, NULL, NULL, NULL);
        assert_non_null(req);
        assert_int_equal(X509_REQ_verify(req, X509_REQ_get0_pubkey(req)), 1);
        q.names = bad;
        q.n_names = 1;
        assert_int_equal(identity_csr(id, &q, &pem, &reason), -EINVAL);
}

/* Content of the next element, which has to have this tag. */
static Bytes element(const uint8_t **p, const uint8_t *end, int tag)
{
        const uint8_t *start = *p;
        long len;
        int found, class;
        int r = ASN1_get_object(&start, &len, &found, &class, end - *p);
        assert_int_equal(r & 0x80, 0);
        assert_int_equal(found, tag);
        /* DER: the length in as few bytes as will do (X.690 10.1). */
        assert_int_equal(start + len - *p, ASN1_object_size(0, (int)len, tag));
        *p = start + len;
        return BYTES(start, (size_t)len);
}

static Bytes only_element(Bytes in, int tag)
{
        const uint8_t *p = in.data;
        Bytes content = element(&p, in.data + in.len, tag);
        assert_ptr_equal(p, in.data + in.len);
        return content;
}

/* What a CA does with the TPM's word in a request. */
static void verify_evidence(Identity *id, X509_REQ *req, Bytes nonce)
{
        static const uint8_t type[] = { 0x67, 0x81, 0x05, 0x14, 0x01 };
        IdentityAttestation a = { 0 };
        ASN1_OBJECT *oid = OBJ_txt2obj(IDENTITY_ATTESTATION_OID, 1);
        int at = X509_REQ_get_attr_by_OBJ(req, oid, -1);
        ASN1_OBJECT_free(oid);
        assert_true(at >= 0);
        const ASN1_TYPE *value = X509_ATTRIBUTE_get0_type(X509_REQ_get_attr(req, at), 0);
        assert_int_equal(value->type, V_ASN1_SEQUENCE);
        Bytes bundle = only_element(
                BYTES(value->value.sequence->data, (size_t)value->value.sequence->length),
                V_ASN1_SEQUENCE);
        Bytes statement = only_element(only_element(bundle, V_ASN1_SEQUENCE), V_ASN1_SEQUENCE);
        const uint8_t *p = statement.data, *end = p + statement.len;
        assert_true(bytes_equal(element(&p, end, V_ASN1_OBJECT), BYTES(type, sizeof(type))));
        Bytes certify = element(&p, end, V_ASN1_SEQUENCE);
        assert_ptr_equal(p, end);
        p = certify.data;
        end = p + certify.len;
        Bytes attest = element(&p, end, V_ASN1_OCTET_STRING);
        Bytes signature = element(&p, end, V_ASN1_OCTET_STRING);
        Bytes area = element(&p, end, V_ASN1_OCTET_STRING);
        assert_ptr_equal(p, end);
        memcpy(a.attest, attest.data, a.attest_len = attest.len);
        memcpy(a.signature, signature.data, a.signature_len = signature.len);
        verify_attestation(id, &a);
        TPMS_ATTEST said;
        TPM2B_PUBLIC pub = { 0 };
        uint8_t name[32], point[P256_POINT_SIZE], of_request[P256_POINT_SIZE];
        size_t used = 0;
        assert_int_equal(Tss2_MU_TPMS_ATTEST_Unmarshal(a.attest, a.attest_len, &used, &said), 0);
        assert_true(bytes_equal(BYTES(said.extraData.buffer, said.extraData.size), nonce));
        assert_int_equal(crypto_sha256(area, name), 0);
        assert_memory_equal(said.attested.certify.name.name + 2, name, sizeof(name));
        used = 0;
        assert_int_equal(Tss2_MU_TPMT_PUBLIC_Unmarshal(area.data, area.len, &used, &pub.publicArea),
                         0);
        assert_int_equal(public_to_point(&pub, point), 0);
        assert_int_equal(p256_to_point(X509_REQ_get0_pubkey(req), of_request), 0);
        assert_memory_equal(point, of_request, sizeof(point));
}

static void test_csr_attested(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        static const uint8_t nonces[2][IDENTITY_NONCE_MAX] = { { 1, 2, 3 }, { 7 } };
        const size_t lens[] = { 0, 3, IDENTITY_NONCE_MAX };
        lab_create_identity(lab, true);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        for (size_t i = 0; i < ELEMENTSOF(lens); i++) {
                _cleanup_free_ uint8_t *der = NULL;
                size_t len;
                Bytes nonce = BYTES(nonces[i / 2], lens[i]);
                const IdentityRequest q = { .common_name = "gw", .attest = true, .nonce = nonce };
                if (identity_request(id, &q, &der, &len, &reason) < 0)
                        fail_msg("%s", reason.text);
                const uint8_t *p = der;
                _cleanup_(X509_REQ_freep) X509_REQ *req = d2i_X509_REQ(NULL, &p, (long)len);
                assert_int_equal(X509_REQ_verify(req, X509_REQ_get0_pubkey(req)), 1);
                verify_evidence(id, req, nonce);
        }
}

typedef struct Restart {
        Lab *lab;
        Identity *id;
        Loop *loop;
} Restart;

static void restart_tpm(void *userdata)
{
        Restart *t = userdata;
        static IdentityAttestation a;
        Reason reason = { 0 };
        assert_int_equal(identity_check(t->id, &reason), 0);
        lab_stop_tpm(t->lab);
        for (int i = 0; i < 3; i++) {
                assert_true(identity_check(t->id, &reason) < 0);
                assert_non_null(strstr(reason.text, "Cannot open the TPM at"));
        }
        lab_start_tpm(t->lab);
        if (identity_check(t->id, &reason) < 0)
                fail_msg("%s", reason.text);
        /* And when nobody noticed that it was away. */
        lab_stop_tpm(t->lab);
        lab_start_tpm(t->lab);
        if (identity_certify(t->id, BYTES_LITERAL("nonce"), &a, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(identity_quote(t->id, BYTES_LITERAL("nonce"), &a, &reason), 0);
        verify_attestation(t->id, &a);
        for (int i = 0; i < 5; i++) /* no slot is lost */
                assert_int_equal(identity_check(t->id, &reason), 0);
        loop_exit(t->loop, 0);
}

/* The TPM is restarted under a daemon that runs on. */
static void test_tpm_restart(void **state)
{
        Restart t = { .lab = *state };
        Reason reason = { 0 };
        lab_stop_tpm(t.lab); /* its PCRs are zero from here on, as after each restart below */
        lab_start_tpm(t.lab);
        lab_create_identity(t.lab, true);
        t.id = open_identity(t.lab);
        assert_int_equal(loop_new(&t.loop), 0);
        assert_int_equal(identity_attach(t.id, t.loop), 0);
        assert_int_equal(fiber_spawn(restart_tpm, &t), 0);
        assert_int_equal(loop_run(t.loop), 0);
        identity_free(t.id);
        loop_free(t.loop);

        /* Another TPM in its place: its keys do not load there, and nothing signs. */
        Identity *id = open_identity(t.lab);
        lab_stop_tpm(t.lab);
        unlink(lab_path(t.lab, "tpm2-00.permall"));
        lab_start_tpm(t.lab);
        assert_int_equal(identity_check(id, &reason), -ENXIO);
        assert_non_null(strstr(reason.text, "not the TPM that the identity"));
        assert_true(identity_health(id)->away);
        assert_true(identity_check(id, &reason) < 0);
        identity_free(id);
        id = NULL;
        assert_int_equal(identity_open(t.lab->tcti, t.lab->state, &id, &reason), -ENXIO);
        assert_null(id);
}

/* It forgets what was loaded while the connection goes on, as over a suspend. */
static void test_reset_unnoticed(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        static IdentityAttestation a;
        uint8_t secret[IDENTITY_SECRET_SIZE];
        lab_create_identity(lab, true);
        _cleanup_(identity_freep) Identity *id = open_identity(lab);
        for (int i = 0; i < 4; i++) {
                ESYS_TR lost[] = { id->key, id->ak, id->key, tpm_session(id->tpm, 0) };
                TSS2_SYS_CONTEXT *sys;
                TPM2_HANDLE handle;
                assert_int_equal(identity_check(id, &reason), 0);
                assert_int_equal(Esys_TR_GetTpmHandle(tpm_esys(id->tpm), lost[i], &handle), 0);
                assert_int_equal(Esys_GetSysContext(tpm_esys(id->tpm), &sys), 0);
                assert_int_equal(Tss2_Sys_FlushContext(sys, handle), 0);
                int r = i == 1   ? identity_quote(id, BYTES_LITERAL("n"), &a, &reason)
                        : i == 2 ? identity_secret(id, "label", secret, &reason)
                                 : identity_check(id, &reason);
                if (r < 0)
                        fail_msg("%d: %s", i, reason.text);
                assert_false(identity_health(id)->away);
        }
}

/* In place of an answer of the TPM it says that it was reset, to one command that reads a counter:
 * the next, or the one after an increment. */
static bool lose_after_increment;

static void lose_one(uint8_t *message, size_t len, uint32_t code, bool answer)
{
        static const uint8_t reference_h0[] = { 0x00, 0x00, 0x09, 0x10 };
        static bool incremented, done;
        static unsigned reads;
        incremented = incremented || code == TPM2_CC_NV_Increment;
        if (code != TPM2_CC_NV_Read || !answer || done)
                return;
        if (lose_after_increment ? !incremented : ++reads < 2)
                return;
        memcpy(message + 6, reference_h0, sizeof(reference_h0));
        done = true;
}

static Identity *open_losing(Lab *lab, bool after_increment, uint64_t *ret_counter)
{
        Reason reason = { 0 };
        Identity *id = NULL;
        lab_create_identity(lab, true);
        lose_after_increment = after_increment;
        lab_start_interposer(lab, lose_one);
        assert_int_equal(identity_open(lab->slow_tcti, lab->state, &id, &reason), 0);
        assert_int_equal(identity_read_counter(id, ret_counter, &reason), 0);
        return id;
}

/* The TPM has counted an answer that we have not: the session is out of step. */
static void test_out_of_step(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        uint64_t before, after = 0;
        PcrValues now;
        TSS2_RC rc;
        Identity *id = open_losing(lab, false, &before);
        TPM2B_MAX_NV_BUFFER *data = NULL;
        rc = Esys_NV_Read(tpm_esys(id->tpm), id->counter, id->counter,
                          tpm_session(id->tpm, TPM_PROTECT_OUT), ESYS_TR_NONE, ESYS_TR_NONE, 8, 0,
                          &data);
        assert_int_equal(rc, 0x910);
        if (identity_read_pcrs(id, identity_pcrs(id), &now, &reason) < 0 ||
            identity_read_counter(id, &after, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(after, before);
        assert_int_equal(identity_check(id, &reason), 0);
        identity_free(id);
}

/* A second increment would retire what was made for after the first. */
static void test_incremented_once(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        uint64_t before, after;
        Identity *id = open_losing(lab, true, &before);
        assert_int_equal(identity_retire_policies(id, &after, &reason), -EIO);
        assert_int_equal(identity_read_counter(id, &after, &reason), 0);
        assert_int_equal(after, before + 1);
        identity_free(id);
}

static const struct {
        uint32_t code;
        const char *name;
} commands[] = {
        { TPM2_CC_CreatePrimary, "CreatePrimary" },
        { TPM2_CC_StartAuthSession, "StartAuthSession" },
        { TPM2_CC_Load, "Load" },
        { TPM2_CC_NV_ReadPublic, "NV_ReadPublic" },
        { TPM2_CC_NV_Read, "NV_Read" },
        { TPM2_CC_PCR_Read, "PCR_Read" },
        { TPM2_CC_LoadExternal, "LoadExternal" },
        { TPM2_CC_VerifySignature, "VerifySignature" },
        { TPM2_CC_PolicyPCR, "PolicyPCR" },
        { TPM2_CC_PolicyNV, "PolicyNV" },
        { TPM2_CC_PolicyAuthorize, "PolicyAuthorize" },
        { TPM2_CC_Sign, "Sign" },
        { TPM2_CC_Unseal, "Unseal" },
        { TPM2_CC_Quote, "Quote" },
        { TPM2_CC_Certify, "Certify" },
};

/* What the interposer's process changes: one bit, so many bytes behind the header. */
static struct {
        uint32_t code;
        bool answer;
        size_t offset;
        char log[128];
} plan;

static void flip(uint8_t *message, size_t len, uint32_t code, bool answer)
{
        if (code == plan.code && answer == plan.answer && len > 10 + plan.offset)
                message[10 + plan.offset] ^= 0x10;
}

static void write_down(uint8_t *message, size_t len, uint32_t code, bool answer)
{
        FILE *f = fopen(plan.log, "ae");
        fwrite(&code, sizeof(code), 1, f);
        fwrite(message, len, 1, f);
        fclose(f);
}

/* Everything that the daemon does with the TPM. */
static int do_all(Lab *lab, uint8_t signature[static P256_SIGNATURE_SIZE],
                  uint8_t secret[static IDENTITY_SECRET_SIZE], uint64_t *counter,
                  IdentityAttestation *a, Reason *reason)
{
        _cleanup_(identity_freep) Identity *id = NULL;
        PcrValues pcrs;
        int r = identity_open(lab->slow_tcti, lab->state, &id, reason);
        if (r == 0)
                r = identity_secret(id, "label", secret, reason);
        if (r == 0)
                r = identity_sign(id, digest, signature, reason);
        if (r == 0)
                r = identity_quote(id, BYTES_LITERAL("a nonce that is seen nowhere"), a, reason);
        if (r == 0)
                r = identity_certify(id, BYTES_LITERAL("nor is this one"), a, reason);
        if (r == 0)
                r = identity_read_pcrs(id, 0x95, &pcrs, reason);
        if (r == 0)
                r = identity_read_counter(id, counter, reason);
        return r;
}

static bool contains(Bytes all, Bytes what)
{
        return memmem(all.data, all.len, what.data, what.len);
}

/* Who listens on the bus learns nothing that is worth anything. */
static void test_bus_is_heard(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        static IdentityAttestation a;
        uint8_t signature[P256_SIGNATURE_SIZE], secret[IDENTITY_SECRET_SIZE];
        uint64_t counter;
        uint8_t *log = NULL;
        size_t len;
        lab_create_identity(lab, true);
        snprintf(plan.log, sizeof(plan.log), "%s", lab_path(lab, "bus.log"));
        lab_start_interposer(lab, write_down);
        if (do_all(lab, signature, secret, &counter, &a, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(file_read(plan.log, 1 << 20, &log, &len), 0);
        Bytes all = BYTES(log, len);
        Identity *id = open_identity(lab);
        PcrValues pcrs;
        assert_int_equal(identity_read_pcrs(id, 1 << 7, &pcrs, &reason), 0);
        identity_free(id);
        assert_true(contains(all, BYTES(pcrs.values[7], 32))); /* so there is something to hear */
        assert_false(contains(all, BYTES(digest, sizeof(digest))));
        assert_false(contains(all, BYTES_LITERAL("a nonce that is seen nowhere")));
        assert_false(contains(all, BYTES_LITERAL("nor is this one")));
        /* What is unsealed is 32 bytes somewhere in it, if it is there in the clear. */
        for (size_t i = 0; i + IDENTITY_SECRET_SIZE <= len; i++) {
                uint8_t derived[IDENTITY_SECRET_SIZE];
                assert_int_equal(
                        crypto_hkdf(BYTES(log + i, IDENTITY_SECRET_SIZE), "label", derived), 0);
                assert_memory_not_equal(derived, secret, sizeof(secret));
        }
        free(log);
}

/* Who changes a bit on the bus gets an error out of us, and never another result. */
static void test_bus_is_changed(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        static IdentityAttestation a;
        uint8_t signature[P256_SIGNATURE_SIZE], secret[IDENTITY_SECRET_SIZE],
                other[IDENTITY_SECRET_SIZE];
        uint64_t counter, value;
        static const size_t offsets[] = { 4, 10, 30, 60 };
        unsigned refused = 0, harmless = 0;
        lab_create_identity(lab, true);
        lab_start_relay(lab, 0, 0);
        assert_int_equal(do_all(lab, signature, secret, &counter, &a, &reason), 0);
        for (size_t i = 0; i < ELEMENTSOF(commands) * 2 * ELEMENTSOF(offsets); i++) {
                size_t which = i / (2 * ELEMENTSOF(offsets));
                plan.code = commands[which].code;
                plan.answer = i % 2;
                plan.offset = offsets[i / 2 % ELEMENTSOF(offsets)];
                lab_start_interposer(lab, flip);
                if (do_all(lab, signature, other, &value, &a, &reason) < 0) {
                        refused++;
                        continue;
                }
                harmless++;
                print_message("%s: %s changed at %zu has no effect\n", commands[which].name,
                              plan.answer ? "answer" : "command", plan.offset);
                Identity *id = open_identity(lab);
                assert_int_equal(verify_digest(identity_point(id), digest, signature), 1);
                identity_free(id);
                assert_memory_equal(secret, other, sizeof(secret));
                assert_int_equal(value, counter);
        }
        print_message("%u changes refused, %u without effect\n", refused, harmless);
        assert_true(refused > 90);
        lab_start_relay(lab, 0, 0);
        assert_int_equal(do_all(lab, signature, other, &value, &a, &reason), 0);
}

static void flip_once(uint8_t *message, size_t len, uint32_t code, bool answer)
{
        static bool done; /* in the interposer's process */
        if (done || code != plan.code || !answer)
                return;
        done = true;
        message[len - 1] ^= 0x10;
}

/* An answer that makes no sense is no reason to take none any more. */
static void test_bus_recovers(void **state)
{
        Lab *lab = *state;
        Reason reason = { 0 };
        uint8_t signature[P256_SIGNATURE_SIZE];
        static const uint32_t codes[] = { TPM2_CC_Sign, TPM2_CC_PolicyPCR, TPM2_CC_PolicyNV,
                                          TPM2_CC_VerifySignature, TPM2_CC_PolicyAuthorize };
        lab_create_identity(lab, true);
        lab_start_relay(lab, 0, 0);
        for (size_t i = 0; i < ELEMENTSOF(codes); i++) {
                Identity *id = NULL;
                plan.code = codes[i];
                lab_start_interposer(lab, flip_once);
                assert_int_equal(identity_open(lab->slow_tcti, lab->state, &id, &reason), 0);
                assert_true(identity_sign(id, digest, signature, &reason) < 0);
                print_message("%s\n", reason.text);
                if (identity_sign(id, digest, signature, &reason) < 0)
                        fail_msg("%s", reason.text);
                identity_free(id);
        }
        lab_start_relay(lab, 0, 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sign),
                cmocka_unit_test(test_bus_recovers),
                cmocka_unit_test(test_files),
                cmocka_unit_test(test_no_policy),
                cmocka_unit_test(test_no_policy_file),
                cmocka_unit_test(test_exists),
                cmocka_unit_test(test_pcr_change),
                cmocka_unit_test(test_retired),
                cmocka_unit_test(test_forged_policy),
                cmocka_unit_test(test_no_other_way),
                cmocka_unit_test(test_hand_over),
                cmocka_unit_test(test_hand_over_and_back),
                cmocka_unit_test(test_two_ways_of_hand_over),
                cmocka_unit_test(test_reload_fails),
                cmocka_unit_test(test_secret),
                cmocka_unit_test(test_several_policies),
                cmocka_unit_test(test_quote),
                cmocka_unit_test(test_certify),
                cmocka_unit_test(test_tpm_restart),
                cmocka_unit_test(test_damaged_files),
                cmocka_unit_test(test_weak_key),
                cmocka_unit_test(test_certificates),
                cmocka_unit_test(test_reset_unnoticed),
                cmocka_unit_test(test_out_of_step),
                cmocka_unit_test(test_incremented_once),
                cmocka_unit_test(test_bus_is_heard),
                cmocka_unit_test(test_bus_is_changed),
                cmocka_unit_test(test_csr),
                cmocka_unit_test(test_csr_attested),
                cmocka_unit_test(test_foreign_counter),
        };
        return cmocka_run_group_tests(tests, lab_setup, lab_teardown);
}
