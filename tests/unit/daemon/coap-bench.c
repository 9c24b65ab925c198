/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "coap-bench.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include <cmocka.h>

#include "base/str.h"

/* CA, gateway and two devices, and what must not get in. */
static const char make_certificates[] =
        "set -e; cd \"$0\"\n"
        "new() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }\n"
        "ca() { new $1; openssl req -x509 -new -key $1.key -days 2 -subj /CN=$1 -out $1.pem; }\n"
        "leaf() { new $2; openssl req -new -key $2.key -subj /CN=$3 -out $2.csr;\n"
        "  openssl x509 -req -in $2.csr -CA $1.pem -CAkey $1.key -CAcreateserial -out $2.pem "
        "-days $4; }\n"
        "ca ca; ca foreign\n"
        "leaf ca gateway gateway.test 2; leaf ca second second.test 2; leaf ca dev1 dev1 2\n"
        "leaf ca dev2 dev2 2; leaf ca stranger stranger 2; leaf foreign fake dev1 2\n"
        "new sub; openssl req -new -key sub.key -subj /CN=sub -out sub.csr\n"
        "echo basicConstraints=critical,CA:TRUE >sub.ext\n"
        "openssl x509 -req -in sub.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out sub.pem "
        "-days 2 -extfile sub.ext; leaf sub below dev2 2\n"
        "new old; openssl req -new -key old.key -subj /CN=dev1 -out old.csr\n"
        "printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\nserial=serial\\nnew_certs_dir=.\\n"
        "default_md=sha256\\nunique_subject=no\\npolicy=p\\n[p]\\ncommonName=supplied\\n' >ca.cnf\n"
        ": >index; echo 01 >serial\n"
        "new large; openssl req -new -key large.key -subj /CN=dev2 -out large.csr\n"
        "echo \"nsComment=$(printf %0500d 0)\" >large.ext\n"
        "openssl x509 -req -in large.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out large.pem "
        "-days 2 -extfile large.ext\n"
        "openssl ca -batch -notext -config ca.cnf -cert ca.pem -keyfile ca.key -in old.csr "
        "-out old.pem -startdate 20200101000000Z -enddate 20210101000000Z\n"
        "openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -revoke dev1.pem\n"
        "openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -gencrl -crldays 2 "
        "-out revoked.crl\n";

static char output[65536];

const char *bench_output(void)
{
        return output;
}

void bench_path(const Bench *b, const char *name, char ret[static 128])
{
        snprintf(ret, 128, "%s/%s", b->directory, name);
}

Credential *bench_credential(const Bench *b, const char *name)
{
        char path[128], file[64];
        snprintf(file, sizeof(file), "%s.key", name);
        bench_path(b, file, path);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
        fclose(f);
        snprintf(file, sizeof(file), "%s.pem", name);
        bench_path(b, file, path);
        f = fopen(path, "r");
        assert_non_null(f);
        X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
        fclose(f);
        Credential *c;
        assert_int_equal(credential_new(key, x, NULL, false, &c), 0);
        EVP_PKEY_free(key);
        X509_free(x);
        return c;
}

void bench_trust(Bench *b, const char *authorities, const char *list)
{
        char bundle[128], path[128];
        const char *lists[] = { path };
        Reason reason = { "" };
        _cleanup_(trust_unrefp) Trust *trust = NULL;
        const TrustFiles files = { .authorities = bundle, .lists = lists, .n_lists = !!list };
        bench_path(b, authorities, bundle);
        bench_path(b, strempty(list), path);
        assert_int_equal(trust_new(&files, &reason, &trust), 0);
        ingress_coap_set_trust(b->in, trust);
}

uint16_t bench_free_port(void)
{
        int fd = socket(AF_INET, SOCK_DGRAM, 0);
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(a);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
        close(fd);
        return ntohs(a.sin_port);
}

static void set_up_gateway(Gateway *g)
{
        static char *names[] = { (char *)"dev1", (char *)"dev2" };
        list_init(&g->telemetry);
        list_init(&g->evidence);
        list_init(&g->waiting);
        g->delay = 20 * USEC_PER_MSEC;
        for (size_t i = 0; i < ELEMENTSOF(names); i++) {
                g->config[i].name = names[i];
                g->config[i].class = &g->class;
                g->device[i].device = &g->config[i];
        }
        assert_int_equal(loop_new(&g->loop), 0);
}

int bench_setup(void **state)
{
        Bench *b = calloc(1, sizeof(*b));
        strcpy(b->directory, "/tmp/sallyport-coap-XXXXXX");
        assert_non_null(mkdtemp(b->directory));
        pid_t pid = fork();
        if (pid == 0) {
                int null = open("/dev/null", O_WRONLY);
                dup2(null, 2);
                execl("/bin/sh", "sh", "-c", make_certificates, b->directory, NULL);
                _exit(127);
        }
        int status;
        waitpid(pid, &status, 0);
        assert_int_equal(status, 0);

        set_up_gateway(&b->gateway);
        assert_int_equal(ingress_coap_new(&b->gateway, b->gateway.loop, 100, &b->in), 0);
        bench_trust(b, "ca.pem", NULL);
        Credential *c = bench_credential(b, "gateway");
        assert_int_equal(ingress_coap_set_credential(b->in, c), 0);
        credential_unref(c);
        b->port = bench_free_port();
        b->device_port = bench_free_port();
        struct sockaddr_storage a = { 0 };
        *(struct sockaddr_in *)&a = (struct sockaddr_in){
                .sin_family = AF_INET,
                .sin_port = htons(b->port),
                .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
        };
        assert_int_equal(ingress_coap_listen(b->in, &a), 0);
        *state = b;
        return 0;
}

static void free_stored(List *l)
{
        for (List *i; (i = list_first(l));) {
                Stored *s = LIST_ENTRY(i, Stored, link);
                list_remove(i);
                free(s->device);
                free(s->topic);
                free(s->content_type);
                free(s->payload);
                free(s);
        }
}

int bench_teardown(void **state)
{
        Bench *b = *state;
        ingress_coap_free(b->in);
        assert_int_equal(b->gateway.opened, b->gateway.closed);
        bench_gateway_done(&b->gateway);
        free_stored(&b->gateway.telemetry);
        free_stored(&b->gateway.evidence);
        loop_free(b->gateway.loop);
        char command[128];
        snprintf(command, sizeof(command), "rm -r %s", b->directory);
        assert_int_equal(system(command), 0);
        free(b);
        return 0;
}

size_t list_length(const List *l)
{
        size_t n = 0;
        LIST_FOREACH (i, l) {
                n++;
        }
        return n;
}

Stored *last_stored(const List *l)
{
        return list_empty(l) ? NULL : LIST_ENTRY(l->prev, Stored, link);
}

void bench_turn(Bench *b, usec_t time)
{
        usec_t end = now_boottime() + time;
        for (usec_t now; (now = now_boottime()) < end;)
                assert_true(sd_event_run(loop_sd_event(b->gateway.loop), end - now) >= 0);
}

/* Turns the loop until the process ended and its output is complete; -1 when it took too long. */
static int watch_child(Bench *b, unsigned seconds, pid_t pid, int fd)
{
        size_t len = 0;
        int status = 0;
        bool ended = false, killed = false;
        usec_t end = now_boottime() + seconds * USEC_PER_SEC;
        while (!ended) {
                sd_event_run(loop_sd_event(b->gateway.loop), 5 * USEC_PER_MSEC);
                ended = waitpid(pid, &status, WNOHANG) == pid;
                ssize_t n;
                while ((n = read(fd, output + len, sizeof(output) - 1 - len)) > 0)
                        len += (size_t)n;
                if (!ended && now_boottime() > end && !killed) {
                        kill(pid, SIGKILL);
                        killed = true;
                }
        }
        output[len] = '\0';
        close(fd);
        return !killed && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static int run_child(Bench *b, unsigned seconds, char *const *argv, int (*function)(Bench *b))
{
        int pipes[2];
        assert_int_equal(pipe2(pipes, O_CLOEXEC | O_NONBLOCK), 0);
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                dup2(pipes[1], 1);
                dup2(pipes[1], 2);
                if (argv)
                        execvp(argv[0], argv);
                _exit(argv ? 127 : function(b));
        }
        close(pipes[1]);
        return watch_child(b, seconds, pid, pipes[0]);
}

int bench_child(Bench *b, unsigned seconds, int (*function)(Bench *b))
{
        return run_child(b, seconds, NULL, function);
}

int bench_client(Bench *b, unsigned seconds, const char *who, const char *path,
                 const char *const *arguments)
{
        char certificate[128], key[128], uri[512], file[64];
        const char *argv[32] = { "coap-client-openssl", "-v", "7", "-B", "20" };
        size_t n = 5;
        if (who) {
                snprintf(file, sizeof(file), "%s.pem", who);
                bench_path(b, file, certificate);
                snprintf(file, sizeof(file), "%s.key", who);
                bench_path(b, file, key);
                argv[n++] = "-c";
                argv[n++] = certificate;
                argv[n++] = "-j";
                argv[n++] = key;
        }
        for (; *arguments; arguments++)
                argv[n++] = *arguments;
        snprintf(uri, sizeof(uri), "coaps://127.0.0.1:%u%s", b->port, path);
        argv[n++] = uri;
        return run_child(b, seconds, (char *const *)argv, NULL);
}
