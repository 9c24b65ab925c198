/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Enrolment and renewal at an EST server (tests/tools/est-server), with a software TPM. */
#include "../unit.h"

#include <errno.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "../broker.h"
#include "base/str.h"
#include "platform/est.h"
#include "platform/file.h"
#include "platform/ossl.h"
#include "swtpm.h"

typedef struct Fixture {
        Lab *lab;
        Broker broker; /* its free port and its ways to look at a log */
        pid_t server;
        Loop *loop;
        Identity *identity;
        Credential *credential;
        char url[64], log[128], behaviour[128], ca[128];
        unsigned done;
        int error;
        char *pem, reason[512];
} Fixture;

static const char make_server[] =
        "set -e\n"
        "cd \"$1\"\n"
        "openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout est-tls.key"
        " -subj /CN=est.test -out est-tls.csr\n"
        "echo subjectAltName=IP:127.0.0.1 >est-tls.ext\n"
        "openssl x509 -req -in est-tls.csr -CA est.pem -CAkey est.key -days 1 -set_serial 77"
        " -extfile est-tls.ext -out est-tls.pem\n"
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout other.key"
        " -subj /CN=Other -days 1 -out other.pem\n";

static pid_t run(const char *const *argv)
{
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid > 0)
                return pid;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr))
                _exit(1);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
}

static void write_authority(Fixture *f)
{
        FILE *out = fopen(lab_path(f->lab, "est.pem"), "we");
        assert_int_equal(PEM_write_X509(out, f->lab->ca), 1);
        fclose(out);
        out = fopen(lab_path(f->lab, "est.key"), "we");
        assert_int_equal(PEM_write_PrivateKey(out, f->lab->ca_key, NULL, NULL, 0, NULL, NULL), 1);
        fclose(out);
        int status;
        pid_t pid = run((const char *[]){ "sh", "-c", make_server, "sh", f->lab->directory, NULL });
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
}

static void behave(Fixture *f, const char *json)
{
        assert_int_equal(file_write_atomic(f->behaviour, bytes_from_str(json), 0644), 0);
}

static void start_server(Fixture *f)
{
        char port[8];
        broker_prepare(&f->broker);
        snprintf(port, sizeof(port), "%u", f->broker.port);
        snprintf(f->url, sizeof(f->url), "https://127.0.0.1:%s", port);
        snprintf(f->ca, sizeof(f->ca), "%s/est", f->lab->directory);
        snprintf(f->log, sizeof(f->log), "%s/est.log", f->lab->directory);
        snprintf(f->behaviour, sizeof(f->behaviour), "%s/est.json", f->lab->directory);
        f->server = run((const char *[]){ TOOLS "/est-server", "--port", port, "--certificate",
                                          lab_path(f->lab, "est-tls.pem"), "--key",
                                          lab_path(f->lab, "est-tls.key"), "--ca", f->ca,
                                          "--behaviour", f->behaviour, "--log", f->log, NULL });
        snprintf(f->ca, sizeof(f->ca), "%s/est.pem", f->lab->directory);
}

static void on_done(const EstResult *r, void *userdata)
{
        Fixture *f = userdata;
        f->done++;
        f->error = r->error;
        free(f->pem);
        f->pem = r->pem ? strdup(r->pem) : NULL;
        snprintf(f->reason, sizeof(f->reason), "%s", r->reason);
}

static const char *const names[] = { "gw-1.example", "192.0.2.1" };

static EstParams params_for(Fixture *f)
{
        return (EstParams){
                .loop = f->loop,
                .identity = f->identity,
                .server = f->url,
                .ca = f->ca,
                .user = "gw:secret",
                .common_name = "gw-1",
                .names = names,
                .n_names = ELEMENTSOF(names),
        };
}

static EstParams renewal_for(Fixture *f)
{
        return (EstParams){
                .loop = f->loop,
                .identity = f->identity,
                .server = f->url,
                .ca = f->ca,
                .credential = f->credential,
                .renewal = true,
        };
}

static void run_est(Fixture *f, const EstParams *p)
{
        Est *e;
        Reason reason = { "" };
        f->done = 0;
        if (est_start(p, on_done, f, &e, &reason) < 0)
                fail_msg("%s", reason.text);
        usec_t until = now_boottime() + 30 * USEC_PER_SEC;
        while (f->done == 0 && now_boottime() < until)
                sd_event_run(loop_sd_event(f->loop), 100 * USEC_PER_MSEC);
        assert_int_equal(f->done, 1);
}

static void issued(Fixture *f, const EstParams *p)
{
        run_est(f, p);
        if (!f->pem)
                fail_msg("%s", f->reason);
}

static void not_issued(Fixture *f, const EstParams *p, const char *words)
{
        run_est(f, p);
        if (f->pem || !strstr(f->reason, words))
                fail_msg("\"%s\", not \"%s\"", f->reason, words);
        for (const char *c = f->reason; *c; c++)
                assert_true((unsigned char)*c >= ' ');
}

static void install(Fixture *f)
{
        Reason reason = { "" };
        const char *path = lab_path(f->lab, "issued.crt");
        assert_int_equal(file_write_atomic(path, bytes_from_str(f->pem), 0644), 0);
        if (identity_install_certificate(f->identity, path, NULL, &reason) < 0)
                fail_msg("%s", reason.text);
        credential_unref(f->credential);
        assert_int_equal(identity_credential(f->identity, &f->credential, &reason), 0);
}

static void enrols(void **state)
{
        Fixture *f = *state;
        EstParams p = params_for(f);
        behave(f, "{\"user\": \"gw:secret\"}");
        issued(f, &p);
        install(f);
        assert_true(file_count(f->log, "issued CN=gw-1 ['gw-1.example', '192.0.2.1']") == 1);
        assert_true(file_count(f->log, "GET /.well-known/est/cacerts") == 1);
        p.label = "plant.1";
        issued(f, &p);
        assert_true(file_count(f->log, "GET /.well-known/est/plant.1/csrattrs") == 1);
        behave(f, "{\"lines\": false}");
        issued(f, &p);
        p.user = "gw:wrong";
        behave(f, "{\"user\": \"gw:secret\"}");
        not_issued(f, &p, "status 401: who are you? (are name and password right?)");
}

/* The same names, whatever is configured now; who asks is said by the key in the TPM. */
static void renews(void **state)
{
        Fixture *f = *state;
        EstParams p = renewal_for(f);
        behave(f, "{\"user\": \"gw:secret\"}");
        issued(f, &p);
        install(f);
        assert_true(file_count(f->log, "POST /.well-known/est/simplereenroll CN=gw-1") == 1);
        assert_true(file_count(f->log, "issued CN=gw-1 ['gw-1.example', '192.0.2.1']") > 1);
        p = renewal_for(f);
        p.renewal = false; /* neither user nor password: the certificate is enough */
        p.common_name = "gw-2";
        issued(f, &p);
        assert_true(file_count(f->log, "POST /.well-known/est/simpleenroll CN=gw-1") == 1);
        p.credential = NULL;
        not_issued(f, &p, "answers csrattrs with status 401");
}

/* What the CA wants: base64 of lists as in RFC 7030 section 4.5.2. */
static void attributes(void **state)
{
        Fixture *f = *state;
        EstParams p = params_for(f);
        /* { extensionRequest { basicConstraints CA, pathlen 0; keyUsage digitalSignature,
         * keyCertSign }, ecdsaWithSHA256 } */
        behave(f, "{\"attributes\": \"MD4GCCqGSM49BAMCMDIGCSqGSIb3DQEJDjElMCMwEgYDVR0TAQH/BAgwBgEB/"
                  "wIBADANBgNVHQ8EBgMEAIQAAAA=\"}");
        not_issued(f, &p, "csrattrs is unusable: it is no list of attributes");
        behave(f, "{\"attributes\": \"MD8GCCqGSM49BAMCMDMGCSqGSIb3DQEJDjEmMCQwEgYDVR0TAQH/"
                  "BAgwBgEB/wIBADAOBgNVHQ8BAf8EBAMCAoQ=\"}");
        issued(f, &p);
        assert_true(file_count(f->log, "['basicConstraints', 'keyUsage', 'subjectAltName']") == 1);
        /* { rsaEncryption } */
        behave(f, "{\"attributes\": \"MAsGCSqGSIb3DQEBAQ==\"}");
        not_issued(f, &p, "The CA wants a key of another kind (RSA)");
        /* { challengePassword } */
        behave(f, "{\"attributes\": \"MAsGCSqGSIb3DQEJBw==\", \"simpleenroll\": \"400\"}");
        not_issued(f, &p, "(it asks for a challengePassword");
        behave(f, "{\"attributes\": \"MAsGCSqGSIb3DQEJBw==\"}");
        issued(f, &p);
        /* { id-aa-attestation }: the TPM's word goes with the request, and not without being asked
         */
        assert_true(file_count(f->log, " attested") == 0);
        behave(f, "{\"attributes\": \"MA0GCyqGSIb3DQEJEAI7\"}");
        issued(f, &p);
        assert_true(file_count(f->log, " attested") == 1);
        behave(f, "{\"attributes\": 404}");
        issued(f, &p);
        behave(f, "{\"attributes\": 500}");
        not_issued(f, &p, "answers csrattrs with status 500");
}

static void hostile(void **state)
{
        Fixture *f = *state;
        static const char *const operations[] = { "cacerts", "csrattrs", "simpleenroll" };
        static const struct {
                const char *how, *words;
        } cases[] = {
                { "500", "with status 500: told to" },
                { "garbage", "is unusable: it is not base64" },
                { "html", "is unusable: it is not base64" },
                { "huge", "the answer has more than" },
                { "cut", "The EST server does not answer" },
                { "302", "with status 302" },
        };
        for (size_t i = 0; i < ELEMENTSOF(operations); i++)
                for (size_t j = 0; j < ELEMENTSOF(cases); j++) {
                        char json[128];
                        EstParams p = params_for(f);
                        snprintf(json, sizeof(json), "{\"%s\": \"%s\"}", operations[i],
                                 cases[j].how);
                        behave(f, json);
                        not_issued(f, &p, cases[j].words);
                        assert_non_null(strstr(f->reason, operations[i]));
                }
        EstParams p = params_for(f);
        behave(f, "{\"simpleenroll\": \"binary\"}");
        not_issued(f, &p, "it is not base64");
        behave(f, "{\"simpleenroll\": \"empty\"}");
        not_issued(f, &p, "it is not base64");
        behave(f, "{\"simpleenroll\": \"wrong-key\"}");
        not_issued(f, &p, "is not for the key of this identity");
        behave(f, "{\"simpleenroll\": \"bare\"}");
        issued(f, &p);
        install(f);
}

static void takes_its_time(void **state)
{
        Fixture *f = *state;
        EstParams p = params_for(f);
        behave(f, "{\"simpleenroll\": \"202:1:2\"}");
        not_issued(f, &p, "wants to be asked again in 1s");
        p.patience = 10 * USEC_PER_SEC;
        size_t before = file_count(f->log, "GET");
        issued(f, &p);
        /* The same request, and nothing else again. */
        assert_int_equal(file_count(f->log, "GET"), before + 2);
        behave(f, "{\"simpleenroll\": \"202:3600\"}");
        not_issued(f, &p, "wants to be asked again in 1h");
}

static void wrong_server(void **state)
{
        Fixture *f = *state;
        EstParams p = params_for(f);
        behave(f, "{}");
        p.ca = f->broker.ca;
        not_issued(f, &p, "does not answer cacerts: SSL certificate problem");
        static const char *const servers[] = { "http://127.0.0.1", "127.0.0.1",   "https://",
                                               "https:///x",       "https://a/b", "https://a@b" };
        for (size_t i = 0; i < ELEMENTSOF(servers); i++) {
                Est *e;
                Reason reason;
                p.server = servers[i];
                assert_int_equal(est_start(&p, on_done, f, &e, &reason), -EINVAL);
        }
        assert_false(est_label_valid(".."));
        assert_false(est_label_valid("a/b"));
        assert_false(est_label_valid(""));
        assert_true(est_label_valid("Plant-1"));
}

/* The TPM refuses: that is this host's failure. */
static void locked(void **state)
{
        Fixture *f = *state;
        EstParams p = params_for(f);
        behave(f, "{}");
        f->credential = credential_unref(f->credential);
        identity_free(f->identity);
        lab_extend_pcr(f->lab);
        Reason reason;
        assert_int_equal(identity_open(f->lab->tcti, f->lab->state, &f->identity, &reason), 0);
        p.identity = f->identity;
        run_est(f, &p);
        assert_null(f->pem);
        assert_int_equal(f->error, -EKEYREJECTED);
        assert_non_null(strstr(f->reason, "PCR 7"));
}

/* Cancelled after any time, with a TPM that takes 100 ms for a signature: in the middle of a
 * handshake and of the request's signature as well. */
static void cancelled(void **state)
{
        Fixture *f = *state;
        Reason reason;
        behave(f, "{}");
        credential_unref(f->credential);
        identity_free(f->identity);
        lab_start_relay(f->lab, 100, 0x15d);
        assert_int_equal(identity_open(f->lab->slow_tcti, f->lab->state, &f->identity, &reason), 0);
        assert_int_equal(identity_attach(f->identity, f->loop), 0);
        assert_int_equal(identity_credential(f->identity, &f->credential, &reason), 0);
        f->done = 0;
        for (unsigned i = 1; i < 24; i++) {
                Est *e;
                EstParams p = renewal_for(f);
                assert_int_equal(est_start(&p, on_done, f, &e, &reason), 0);
                usec_t until = now_boottime() + i * 20 * USEC_PER_MSEC;
                while (now_boottime() < until && f->done == 0)
                        sd_event_run(loop_sd_event(f->loop), 5 * USEC_PER_MSEC);
                if (f->done == 0)
                        est_cancel(e);
                f->done = 0;
                if (i % 2 == 0) /* let the fibers come to their end, or have others behind them */
                        for (until = now_boottime() + 300 * USEC_PER_MSEC; now_boottime() < until;)
                                sd_event_run(loop_sd_event(f->loop), 5 * USEC_PER_MSEC);
        }
        EstParams p = renewal_for(f);
        issued(f, &p);
        assert_false(identity_busy(f->identity));
}

static int setup(void **state)
{
        Fixture *f = calloc(1, sizeof(*f));
        Reason reason = { "" };
        void *lab;
        assert_int_equal(lab_setup(&lab), 0);
        f->lab = lab;
        lab_create_identity(f->lab, true);
        assert_int_equal(loop_new(&f->loop), 0);
        if (identity_open(f->lab->tcti, f->lab->state, &f->identity, &reason) < 0)
                fail_msg("%s", reason.text);
        assert_int_equal(identity_attach(f->identity, f->loop), 0);
        write_authority(f);
        start_server(f);
        broker_wait(&f->broker);
        *state = f;
        return 0;
}

static int teardown(void **state)
{
        Fixture *f = *state;
        process_end(f->server);
        broker_done(&f->broker);
        credential_unref(f->credential);
        identity_free(f->identity);
        loop_free(f->loop);
        free(f->pem);
        void *lab = f->lab;
        lab_teardown(&lab);
        free(f);
        return 0;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(enrols),         cmocka_unit_test(renews),
                cmocka_unit_test(attributes),     cmocka_unit_test(hostile),
                cmocka_unit_test(takes_its_time), cmocka_unit_test(wrong_server),
                cmocka_unit_test(cancelled),      cmocka_unit_test(locked),
        };
        if (system("/usr/bin/python3 -c 'import cryptography' 2>/dev/null") != 0) {
                puts("1..0 # SKIP no python3-cryptography for tests/tools/est-server");
                return 77;
        }
        return cmocka_run_group_tests(tests, setup, teardown);
}
