/* SPDX-License-Identifier: GPL-3.0-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "platform/ossl.h"
#include "platform/tcti.h"
#include "platform/tpm.h"
#include "swtpm.h"

const char *lab_path(const Lab *lab, const char *name)
{
        static char paths[8][256];
        static unsigned next;
        char *p = paths[next++ % 8];
        snprintf(p, sizeof(paths[0]), "%s/%s", lab->directory, name);
        return p;
}

static pid_t fork_bound(void)
{
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
                prctl(PR_SET_PDEATHSIG, SIGKILL);
        return pid;
}

static int connect_unix(const char *path)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
                return fd;
        close(fd);
        return -1;
}

void lab_start_tpm(Lab *lab)
{
        char state[128], server[128];
        snprintf(state, sizeof(state), "dir=%s", lab->directory);
        snprintf(server, sizeof(server), "type=unixio,path=%s/tpm", lab->directory);
        snprintf(lab->tcti, sizeof(lab->tcti), "swtpm:path=%s/tpm", lab->directory);
        lab->swtpm = fork_bound();
        if (lab->swtpm == 0) {
                execlp("swtpm", "swtpm", "socket", "--tpm2", "--tpmstate", state, "--server",
                       server, "--flags", "not-need-init,startup-clear", "--seccomp", "action=none",
                       NULL);
                _exit(127);
        }
        for (int fd = -1, i = 0; fd < 0; i++) {
                assert_true(i < 500);
                poll(NULL, 0, 10);
                fd = connect_unix(lab_path(lab, "tpm"));
                if (fd >= 0)
                        close(fd);
        }
}

static EVP_PKEY *key_new(void)
{
        EVP_PKEY *key = EVP_EC_gen("P-256");
        assert_non_null(key);
        return key;
}

static void extend(X509 *x, X509 *issuer, int nid, const char *value)
{
        X509V3_CTX ctx;
        X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
        X509_EXTENSION *e = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
        assert_non_null(e);
        assert_int_equal(X509_add_ext(x, e, -1), 1);
        X509_EXTENSION_free(e);
}

static void make_ca(Lab *lab)
{
        lab->ca_key = key_new();
        lab->ca = X509_new();
        X509_set_version(lab->ca, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(lab->ca), 1);
        X509_gmtime_adj(X509_getm_notBefore(lab->ca), -86400);
        X509_gmtime_adj(X509_getm_notAfter(lab->ca), 86400);
        X509_set_pubkey(lab->ca, lab->ca_key);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(lab->ca), "CN", MBSTRING_ASC,
                                   (const uint8_t *)"Test CA", -1, -1, 0);
        X509_set_issuer_name(lab->ca, X509_get_subject_name(lab->ca));
        extend(lab->ca, lab->ca, NID_basic_constraints, "critical,CA:TRUE");
        extend(lab->ca, lab->ca, NID_key_usage, "critical,keyCertSign,cRLSign");
        extend(lab->ca, lab->ca, NID_subject_key_identifier, "hash");
        assert_true(X509_sign(lab->ca, lab->ca_key, EVP_sha256()) > 0);
}

int lab_setup(void **state)
{
        Lab *lab = calloc(1, sizeof(*lab));
        snprintf(lab->directory, sizeof(lab->directory), "/tmp/sallyport-lab.XXXXXX");
        assert_non_null(mkdtemp(lab->directory));
        snprintf(lab->state, sizeof(lab->state), "%s/state", lab->directory);
        snprintf(lab->operator_path, sizeof(lab->operator_path), "%s/operator.key", lab->directory);
        lab_start_tpm(lab);
        lab->operator_key = key_new();
        FILE *f = fopen(lab->operator_path, "w");
        assert_int_equal(PEM_write_PrivateKey(f, lab->operator_key, NULL, NULL, 0, NULL, NULL), 1);
        fclose(f);
        make_ca(lab);
        *state = lab;
        return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

static void stop(pid_t pid)
{
        if (pid <= 0)
                return;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
}

void lab_stop_tpm(Lab *lab)
{
        stop(lab->swtpm);
        lab->swtpm = 0;
        unlink(lab_path(lab, "tpm"));
}

int lab_teardown(void **state)
{
        Lab *lab = *state;
        stop(lab->relay);
        stop(lab->swtpm);
        nftw(lab->directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        EVP_PKEY_free(lab->operator_key);
        EVP_PKEY_free(lab->ca_key);
        X509_free(lab->ca);
        free(lab);
        return 0;
}

static bool read_exactly(int fd, uint8_t *p, size_t len)
{
        while (len > 0) {
                ssize_t n = read(fd, p, len);
                if (n <= 0)
                        return false;
                p += n;
                len -= (size_t)n;
        }
        return true;
}

/* One TPM command or answer: both carry their size in bytes 2 to 5. 0 at the end. */
static size_t read_message(int fd, uint8_t buf[static 4096])
{
        if (!read_exactly(fd, buf, 10))
                return 0;
        size_t size = (size_t)buf[2] << 24 | (size_t)buf[3] << 16 | (size_t)buf[4] << 8 | buf[5];
        return size >= 10 && size <= 4096 && read_exactly(fd, buf + 10, size - 10) ? size : 0;
}

static LabInterposer interposer;
static unsigned delay_ms;
static uint32_t delay_code;

static void delay(uint8_t *message, size_t len, uint32_t code, bool answer)
{
        if (answer && (delay_code == 0 || code == delay_code))
                poll(NULL, 0, (int)delay_ms);
}

static void relay_connection(int client, int tpm)
{
        uint8_t buf[4096];
        size_t n;
        while ((n = read_message(client, buf)) > 0) {
                uint32_t code = (uint32_t)buf[6] << 24 | (uint32_t)buf[7] << 16 |
                                (uint32_t)buf[8] << 8 | buf[9];
                interposer(buf, n, code, false);
                if (write(tpm, buf, n) != (ssize_t)n || (n = read_message(tpm, buf)) == 0)
                        break;
                interposer(buf, n, code, true);
                if (write(client, buf, n) != (ssize_t)n)
                        break;
        }
        close(client);
        close(tpm);
}

void lab_start_interposer(Lab *lab, LabInterposer which)
{
        struct sockaddr_un a = { .sun_family = AF_UNIX };
        snprintf(a.sun_path, sizeof(a.sun_path), "%s/slow", lab->directory);
        snprintf(lab->slow_tcti, sizeof(lab->slow_tcti), "swtpm:path=%s/slow", lab->directory);
        stop(lab->relay);
        unlink(a.sun_path);
        int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(listener, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(listener, 4), 0);
        interposer = which;
        lab->relay = fork_bound();
        if (lab->relay == 0)
                for (;;) { /* the TPM only once somebody wants it: it serves one at a time */
                        int client = accept(listener, NULL, NULL);
                        relay_connection(client, connect_unix(lab_path(lab, "tpm")));
                }
        close(listener);
}

void lab_start_relay(Lab *lab, unsigned ms, uint32_t command_code)
{
        delay_ms = ms;
        delay_code = command_code;
        lab_start_interposer(lab, delay);
}

void lab_sign_policy(Lab *lab, Identity *id, Policy *ret)
{
        Reason reason;
        *ret = (Policy){ .counter_index = identity_counter_index(id) };
        memcpy(ret->operator_point, identity_operator_point(id), P256_POINT_SIZE);
        assert_int_equal(identity_read_pcrs(id, identity_pcrs(id), &ret->pcrs, &reason), 0);
        assert_int_equal(identity_read_counter(id, &ret->counter_maximum, &reason), 0);
        assert_int_equal(policy_sign(ret, lab->operator_path, &reason), 0);
}

void lab_create_identity(Lab *lab, bool with_policy)
{
        Reason reason = { 0 };
        IdentityParams params = { .tcti = lab->tcti, .state_directory = lab->state };
        nftw(lab->state, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        assert_int_equal(operator_key_load(lab->operator_path, params.operator_point, &reason), 0);
        assert_int_equal(pcrs_parse(IDENTITY_DEFAULT_PCRS, &params.pcrs), 0);
        if (identity_create(&params, &reason) < 0)
                fail_msg("%s", reason.text);
        if (!with_policy)
                return;
        _cleanup_(identity_freep) Identity *id = NULL;
        Policy policy;
        if (identity_open(lab->tcti, lab->state, &id, &reason) < 0)
                fail_msg("%s", reason.text);
        lab_sign_policy(lab, id, &policy);
        assert_int_equal(identity_install_policy(id, &policy, &reason), 0);
}

void lab_extend_pcr(Lab *lab)
{
        Reason reason;
        _cleanup_(tpm_freep) Tpm *tpm = NULL;
        assert_int_equal(tpm_open(lab->tcti, &tpm, &reason), 0);
        TPML_DIGEST_VALUES values = { .count = 1, .digests[0].hashAlg = TPM2_ALG_SHA256 };
        memset(values.digests[0].digest.sha256, 0xab, 32);
        assert_int_equal(Esys_PCR_Extend(tpm_esys(tpm), ESYS_TR_PCR7, ESYS_TR_PASSWORD,
                                         ESYS_TR_NONE, ESYS_TR_NONE, &values),
                         0);
}

X509 *lab_certify(Lab *lab, EVP_PKEY *key, const LabCertificate *spec)
{
        X509 *x = X509_new();
        X509_set_version(x, X509_VERSION_3);
        ASN1_INTEGER_set(X509_get_serialNumber(x), 2);
        X509_gmtime_adj(X509_getm_notBefore(x), spec->from);
        X509_gmtime_adj(X509_getm_notAfter(x), spec->to);
        X509_set_pubkey(x, key);
        X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC,
                                   (const uint8_t *)"gateway-1", -1, -1, 0);
        X509_set_issuer_name(x, X509_get_subject_name(lab->ca));
        extend(x, lab->ca, NID_subject_key_identifier, "hash");
        extend(x, lab->ca, NID_authority_key_identifier, "keyid");
        if (spec->is_ca) {
                extend(x, lab->ca, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
                extend(x, lab->ca, NID_key_usage, "critical,keyCertSign,digitalSignature");
        }
        assert_true(X509_sign(x, lab->ca_key, EVP_sha256()) > 0);
        return x;
}

void lab_write_certificate(Lab *lab, const char *path, X509 *x)
{
        FILE *f = fopen(path, "w");
        assert_int_equal(PEM_write_X509(f, x), 1);
        assert_int_equal(PEM_write_X509(f, lab->ca), 1);
        fclose(f);
}

void lab_enroll(Lab *lab, Identity *id, bool is_ca)
{
        Reason reason = { 0 };
        _cleanup_(X509_freep) X509 *x =
                lab_certify(lab, identity_pkey(id),
                            &(LabCertificate){ .is_ca = is_ca, .from = -86000, .to = 3600 });
        const char *path = lab_path(lab, "enrolled.crt");
        lab_write_certificate(lab, path, x);
        if (identity_install_certificate(id, path, NULL, &reason) < 0)
                fail_msg("%s", reason.text);
}
