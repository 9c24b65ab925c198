/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "broker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "base/time.h"
#include "platform/ossl.h"
#include "unit.h"

#define PATIENCE (20 * USEC_PER_SEC)

static const char make_certificates[] =
        "set -e\n"
        "cd \"$1\"\n"
        "key() { openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out $1.key; }\n"
        "ca() { key $1; openssl req -x509 -new -key $1.key -subj /CN=$1 -days 2 -out $1.crt"
        " -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign; }\n"
        "leaf() { key $1; openssl req -new -key $1.key -subj /CN=$2 -out $1.csr;"
        " printf \"$4\" > $1.ext; openssl x509 -req -in $1.csr -CA $3.crt -CAkey $3.key"
        " -set_serial 1 -days 2 -extfile $1.ext -out $1.crt; }\n"
        "ca ca; ca other\n"
        "leaf server broker.test ca 'subjectAltName=DNS:broker.test,IP:127.0.0.1\\n'\n"
        "leaf client gw-1 ca 'extendedKeyUsage=clientAuth\\n'\n"
        "leaf foreign gw-1 other 'extendedKeyUsage=clientAuth\\n'\n"
        "leaf observer observer ca 'extendedKeyUsage=clientAuth\\n'\n";

static pid_t spawn(const char *const *argv, const char *output)
{
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid > 0)
                return pid;
        /* Nothing outlives a test that failed. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        int fd = open(output, O_WRONLY | O_CREAT | O_APPEND, 0600);
        dup2(fd, STDOUT_FILENO);
        dup2(fd, STDERR_FILENO);
        execvp(argv[0], (char *const *)argv);
        execv("/usr/sbin/mosquitto", (char *const *)argv);
        _exit(127);
}

static void run(const char *const *argv, const char *output)
{
        int status;
        pid_t pid = spawn(argv, output);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (status != 0)
                fail_msg("%s failed, see %s", argv[0], output);
}

uint16_t free_port(void)
{
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(a);
        assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
        close(fd);
        return ntohs(a.sin_port);
}

static void path_of(const Broker *b, const char *name, char ret[static 128])
{
        snprintf(ret, 128, "%s/%s", b->directory, name);
}

void broker_prepare(Broker *b)
{
        char output[128];
        *b = (Broker){ .pid = -1 };
        strcpy(b->directory, "/tmp/test-broker.XXXXXX");
        assert_non_null(mkdtemp(b->directory));
        path_of(b, "certificates.log", output);
        run((const char *[]){ "sh", "-c", make_certificates, "sh", b->directory, NULL }, output);
        path_of(b, "ca.crt", b->ca);
        path_of(b, "other.crt", b->other_ca);
        path_of(b, "broker.log", b->log);
        b->port = free_port();
}

static bool listens(uint16_t port)
{
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in a = { .sin_family = AF_INET,
                                 .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        bool ok = connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
        close(fd);
        return ok;
}

void broker_wait(const Broker *b)
{
        usec_t deadline = now_boottime() + PATIENCE;
        while (!listens(b->port)) {
                assert_true(now_boottime() < deadline);
                usleep(5000);
        }
}

void broker_start(Broker *b, const char *extra)
{
        char config[128];
        path_of(b, "mosquitto.conf", config);
        FILE *f = fopen(config, "we");
        assert_non_null(f);
        fprintf(f,
                "user root\nlistener %u 127.0.0.1\ncafile %s/ca.crt\ncertfile %s/server.crt\n"
                "keyfile %s/server.key\nrequire_certificate true\nuse_identity_as_username true\n"
                "allow_anonymous true\npersistence false\nlog_type all\nlog_dest file %s\n%s\n",
                b->port, b->directory, b->directory, b->directory, b->log, extra ? extra : "");
        fclose(f);
        b->pid = spawn((const char *[]){ "mosquitto", "-c", config, NULL }, "/dev/null");
        broker_wait(b);
}

void broker_start_hostile(Broker *b, const char *behaviour, const char *word)
{
        char port[8], output[128];
        snprintf(port, sizeof(port), "%u", b->port);
        path_of(b, "hostile-broker.log", output);
        b->pid = spawn((const char *[]){ TOOLS "/hostile-broker", b->directory, port, b->log,
                                         behaviour, word, NULL },
                       output);
        broker_wait(b);
}

void broker_start_web(Broker *b, const char *mode)
{
        char port[8], output[128];
        snprintf(port, sizeof(port), "%u", b->port);
        path_of(b, "http-peer.log", output);
        b->pid = spawn(
                (const char *[]){ TOOLS "/http-peer", b->directory, port, b->log, mode, NULL },
                output);
        broker_wait(b);
}

void process_end(pid_t pid)
{
        if (pid <= 0)
                return;
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
}

void broker_kill(Broker *b)
{
        process_end(b->pid);
        b->pid = -1;
}

void broker_done(Broker *b)
{
        broker_kill(b);
        run((const char *[]){ "rm", "-rf", "--", b->directory, NULL }, "/dev/null");
}

Credential *broker_credential(Broker *b, bool foreign)
{
        char key_path[128], certificate_path[128];
        path_of(b, foreign ? "foreign.key" : "client.key", key_path);
        path_of(b, foreign ? "foreign.crt" : "client.crt", certificate_path);
        FILE *f = fopen(key_path, "re");
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
        fclose(f);
        f = fopen(certificate_path, "re");
        _cleanup_(X509_freep) X509 *certificate = PEM_read_X509(f, NULL, NULL, NULL);
        fclose(f);
        Credential *c;
        assert_int_equal(credential_new(key, certificate, NULL, false, &c), 0);
        return c;
}

size_t file_count(const char *path, const char *text)
{
        FILE *f = fopen(path, "re");
        char line[8192];
        size_t n = 0;
        while (f && fgets(line, sizeof(line), f))
                n += strstr(line, text) != NULL;
        if (f)
                fclose(f);
        return n;
}

void file_wait(const char *path, const char *text)
{
        usec_t deadline = now_boottime() + PATIENCE;
        while (file_count(path, text) == 0) {
                assert_true(now_boottime() < deadline);
                usleep(5000);
        }
}

#define TLS_ARGUMENTS                                                                              \
        "-h", "127.0.0.1", "-p", port, "--cafile", b->ca, "--cert", certificate, "--key", key,     \
                "-V", "mqttv5", "-q", "1"

pid_t broker_subscriber(Broker *b, const char *topic, const char *format, const char *path)
{
        char certificate[128], key[128], port[8], needle[256];
        path_of(b, "observer.crt", certificate);
        path_of(b, "observer.key", key);
        snprintf(port, sizeof(port), "%u", b->port);
        pid_t pid = spawn((const char *[]){ "mosquitto_sub", TLS_ARGUMENTS, "-i", "observer-sub",
                                            "-t", topic, "-F", format, NULL },
                          path);
        snprintf(needle, sizeof(needle), "Sending SUBACK to observer-sub");
        file_wait(b->log, needle);
        return pid;
}

void broker_publish(Broker *b, const char *topic, const char *payload, const char *more)
{
        char certificate[128], key[128], port[8];
        path_of(b, "observer.crt", certificate);
        path_of(b, "observer.key", key);
        snprintf(port, sizeof(port), "%u", b->port);
        run((const char *[]){ "mosquitto_pub", TLS_ARGUMENTS, "-t", topic, "-m", payload, more,
                              NULL },
            "/dev/null");
}
