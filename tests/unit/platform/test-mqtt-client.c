/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-client-bench.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/pem.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>

#include "platform/fiber.h"
#include "platform/ossl.h"

static void expect_failure(Fixture *f, const char *text)
{
        start(f);
        pump(f, &f->seen.disconnected, 1, 10 * USEC_PER_SEC);
        if (!strstr(f->seen.reason, text))
                fail_msg("\"%s\" does not say \"%s\"", f->seen.reason, text);
        assert_int_equal(f->seen.connected, 0);
        assert_true(f->seen.retry_in >= f->config.backoff_min);
        assert_true(f->seen.retry_in <= f->config.backoff_max);
}

static void delivery(void **state)
{
        Fixture *f = *state;
        char output[128];
        broker_start(&f->broker, "max_inflight_messages 7\nmax_packet_size 2000");
        snprintf(output, sizeof(output), "%s/sub", f->broker.directory);
        pid_t sub = broker_subscriber(&f->broker, "up/#", "%t|%p|%C|%P|%E|%q", output);
        start(f);
        pump(f, &f->seen.connected, 1, 5 * USEC_PER_SEC);
        assert_int_equal(f->seen.limits.receive_maximum, 7);
        assert_int_equal(f->seen.limits.maximum_packet_size, 2000);
        const MqttUserProperty properties[] = { { "device", "d1" }, { "posture", "warning" } };
        MqttClientPublish p = {
                .topic = "up/a",
                .payload = BYTES_LITERAL("21.5"),
                .content_type = "text/plain",
                .expiry = 3600,
                .properties = properties,
                .n_properties = 2,
        };
        int mid;
        assert_int_equal(mqtt_client_publish(f->client, &p, &mid), 0);
        pump(f, &f->seen.acknowledged, 1, 5 * USEC_PER_SEC);
        assert_int_equal(f->seen.reason_code, 0);
        file_wait(output, "up/a|21.5|text/plain|device:d1 posture:warning|3600|1");
        process_end(sub);

        static uint8_t large[3000];
        p.payload = BYTES(large, sizeof(large));
        assert_int_equal(mqtt_client_publish(f->client, &p, &mid), -EMSGSIZE);
        p.payload = BYTES_LITERAL("x");
        p.topic = "up/#";
        assert_int_equal(mqtt_client_publish(f->client, &p, &mid), -EINVAL);
}

static void messages_down(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        start(f);
        pump(f, &f->seen.connected, 1, 5 * USEC_PER_SEC);
        assert_int_equal(mqtt_client_subscribe(f->client, "down/+"), 0);
        for (usec_t until = now_boottime() + 5 * USEC_PER_SEC;
             file_count(f->broker.log, "Sending SUBACK to gw-1") == 0 && now_boottime() < until;)
                sd_event_run(loop_sd_event(f->loop), 10 * USEC_PER_MSEC);
        /* Several in one TLS record's time: none may stay behind in the TLS buffer. */
        for (unsigned i = 0; i < 5; i++)
                broker_publish(&f->broker, "down/nonce", "hello", "--retain");
        pump(f, &f->seen.messages, 5, 5 * USEC_PER_SEC);
        assert_string_equal(f->seen.topic, "down/nonce");
        assert_string_equal(f->seen.payload, "hello");
        /* Keep-alive: longer than one and a half of its interval, still there. */
        usec_t until = now_boottime() + 9 * USEC_PER_SEC;
        while (now_boottime() < until)
                sd_event_run(loop_sd_event(f->loop), 100 * USEC_PER_MSEC);
        assert_int_equal(f->seen.disconnected, 0);
        assert_true(file_count(f->broker.log, "Received PINGREQ from gw-1") > 0);
}

static void reconnects(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        start(f);
        pump(f, &f->seen.connected, 1, 5 * USEC_PER_SEC);
        broker_kill(&f->broker);
        pump(f, &f->seen.disconnected, 1, 5 * USEC_PER_SEC);
        MqttClientPublish p = { .topic = "x" };
        int mid;
        assert_int_equal(mqtt_client_publish(f->client, &p, &mid), -ENOTCONN);
        broker_start(&f->broker, NULL);
        pump(f, &f->seen.connected, 2, 5 * USEC_PER_SEC);
}

static void wrong_ca(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        f->config.ca = f->broker.other_ca;
        expect_failure(f, "the server's certificate is refused: ");
        assert_int_equal(f->seen.end, MQTT_END_LINK);
}

static void wrong_name(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        f->config.server_name = "elsewhere.test";
        expect_failure(f, "the server's certificate is not for the name \"elsewhere.test\"");
}

static void wrong_address(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        f->config.server_name = "192.0.2.1";
        expect_failure(f, "the server's certificate is not for the name \"192.0.2.1\"");
}

static void address_as_name(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        f->config.server_name = NULL;
        start(f);
        pump(f, &f->seen.connected, 1, 5 * USEC_PER_SEC);
}

static void old_tls(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, "tls_version tlsv1.2");
        f->config.allow_tls12 = true;
        start(f);
        pump(f, &f->seen.connected, 1, 5 * USEC_PER_SEC);
}

static void refused_by_broker(void **state)
{
        Fixture *f = *state;
        credential_unref(f->credential);
        f->credential = broker_credential(&f->broker, true);
        broker_start(&f->broker, NULL);
        /* An alert, or a guess when the alert was lost in the reset. */
        expect_failure(f, "refused the");
        assert_int_equal(f->seen.end,
                         strstr(f->seen.reason, "may have") ? MQTT_END_DOUBT : MQTT_END_REFUSED);
}

static void no_certificate(void **state)
{
        Fixture *f = *state;
        f->credential = credential_unref(f->credential);
        broker_start(&f->broker, NULL);
        expect_failure(f, "refused the");
}

static void missing_ca_file(void **state)
{
        Fixture *f = *state;
        f->config.ca = "/nonexistent/ca.crt";
        expect_failure(f, "cannot load the CA certificates in /nonexistent/ca.crt");
}

static void not_authorized(void **state)
{
        Fixture *f = *state;
        char line[256], path[128];
        snprintf(path, sizeof(path), "%s/passwords", f->broker.directory);
        FILE *p = fopen(path, "we");
        fclose(p);
        snprintf(line, sizeof(line), "clientid_prefixes other-\npassword_file %s", path);
        broker_start(&f->broker, line);
        expect_failure(f, "the broker refused the connection: ");
        assert_int_equal(f->seen.end, MQTT_END_REFUSED);
}

static double cpu_seconds(void)
{
        struct rusage u;
        getrusage(RUSAGE_SELF, &u);
        return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
               (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Nobody listens: a few turns of the loop for each attempt, then it waits. */
static void refused_connection(void **state)
{
        Fixture *f = *state;
        expect_failure(f, "Connection refused");
        assert_int_equal(f->seen.end, MQTT_END_LINK);
        double before = cpu_seconds();
        unsigned turns = pump(f, &f->seen.disconnected, 8, 10 * USEC_PER_SEC);
        assert_true(turns < 8 * 12);
        assert_true(cpu_seconds() - before < 0.3);
        assert_int_equal(mqtt_client_attempts(f->client), 8);
}

static int listen_silently(uint16_t port)
{
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;
        struct sockaddr_in a = { .sin_family = AF_INET,
                                 .sin_port = htons(port),
                                 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
        assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
        assert_int_equal(listen(fd, 10), 0);
        return fd;
}

static void silent_server(void **state)
{
        Fixture *f = *state;
        int fd = listen_silently(f->config.port);
        f->config.connect_timeout = 300 * USEC_PER_MSEC;
        usec_t begin = now_boottime();
        double before = cpu_seconds();
        expect_failure(f, "no answer from the server in time");
        assert_true(cpu_seconds() - before < 0.1); /* it waits, it does not spin */
        assert_true(now_boottime() - begin >= 300 * USEC_PER_MSEC);
        assert_true(now_boottime() - begin < 2 * USEC_PER_SEC);
        close(fd);
}

/* Closes in the middle of the handshake, and talks something that is not TLS. */
static void hostile_server(void **state)
{
        Fixture *f = *state;
        int fd = listen_silently(f->config.port);
        start(f);
        for (unsigned i = 0; i < 6; i++) {
                while (f->seen.disconnected == i) {
                        int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
                        if (peer >= 0) {
                                if (i % 2 && send(peer, "HTTP/1.1 400 no\r\n\r\n", 19, 0) < 0)
                                        fail();
                                close(peer);
                        }
                        sd_event_run(loop_sd_event(f->loop), 10 * USEC_PER_MSEC);
                }
        }
        assert_int_equal(f->seen.connected, 0);
        close(fd);
}

/* A signature that waits as one in the TPM does: on a fiber, with the loop going on. */
static struct {
        usec_t takes;
        LoopSource *timer;
        Fiber *waiting;
        unsigned begun, finished;
} slow;

__attribute__((visibility("default"))) int EVP_DigestSign(EVP_MD_CTX *ctx, unsigned char *sig,
                                                          size_t *sig_len, const unsigned char *tbs,
                                                          size_t tbs_len)
{
        int (*real)(EVP_MD_CTX *, unsigned char *, size_t *, const unsigned char *, size_t) =
                (__typeof__(real))dlsym(RTLD_NEXT, "EVP_DigestSign");
        if (slow.takes > 0 && sig) {
                slow.begun++;
                slow.waiting = fiber_current();
                assert_non_null(slow.waiting);
                assert_int_equal(loop_timer_arm_relative(slow.timer, slow.takes), 0);
                fiber_yield();
                slow.finished++;
        }
        return real(ctx, sig, sig_len, tbs, tbs_len);
}

static int on_signed(void *userdata)
{
        fiber_resume(TAKE_PTR(slow.waiting));
        return 0;
}

static void slow_setup(Fixture *f, usec_t takes)
{
        char path[128];
        memset(&slow, 0, sizeof(slow));
        slow.takes = takes;
        assert_int_equal(loop_add_timer(f->loop, &slow.timer, LOOP_FATAL, on_signed, NULL), 0);
        credential_unref(f->credential);
        snprintf(path, sizeof(path), "%s/client.key", f->broker.directory);
        FILE *file = fopen(path, "re");
        _cleanup_(EVP_PKEY_freep) EVP_PKEY *key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
        fclose(file);
        snprintf(path, sizeof(path), "%s/client.crt", f->broker.directory);
        file = fopen(path, "re");
        _cleanup_(X509_freep) X509 *certificate = PEM_read_X509(file, NULL, NULL, NULL);
        fclose(file);
        assert_int_equal(credential_new(key, certificate, NULL, true, &f->credential), 0);
}

static void slow_done(Fixture *f)
{
        pump(f, &slow.finished, slow.begun, 5 * USEC_PER_SEC);
        slow.timer = loop_source_free(slow.timer);
        slow.takes = 0;
}

static void key_in_tpm(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        slow_setup(f, 300 * USEC_PER_MSEC);
        start(f);
        pump(f, &slow.begun, 1, 5 * USEC_PER_SEC);
        double before = cpu_seconds();
        unsigned turns = pump(f, &slow.finished, 1, 5 * USEC_PER_SEC);
        assert_true(turns < 10);
        assert_true(cpu_seconds() - before < 0.1);
        pump(f, &f->seen.connected, 1, 5 * USEC_PER_SEC);
        assert_int_equal(slow.begun, 1);
        slow_done(f);
}

/* The server goes away while the TPM signs: the loop does not spin on its hang-up. */
static void broker_gone_while_signing(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        slow_setup(f, 500 * USEC_PER_MSEC);
        start(f);
        pump(f, &slow.begun, 1, 5 * USEC_PER_SEC);
        broker_kill(&f->broker);
        assert_true(pump(f, &slow.finished, 1, 5 * USEC_PER_SEC) < 12);
        pump(f, &f->seen.disconnected, 1, 5 * USEC_PER_SEC);
        slow_done(f);
}

static void deadline_while_signing(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        slow_setup(f, 400 * USEC_PER_MSEC);
        f->config.connect_timeout = 200 * USEC_PER_MSEC;
        f->config.backoff_min = f->config.backoff_max = 10 * USEC_PER_SEC;
        start(f);
        pump(f, &f->seen.disconnected, 1, 5 * USEC_PER_SEC);
        assert_int_equal(slow.begun, 1);
        assert_int_equal(slow.finished, 0);
        slow_done(f);
        assert_int_equal(f->seen.connected, 0);
}

static void freed_while_signing(void **state)
{
        Fixture *f = *state;
        broker_start(&f->broker, NULL);
        slow_setup(f, 100 * USEC_PER_MSEC);
        start(f);
        pump(f, &slow.begun, 1, 5 * USEC_PER_SEC);
        f->client = mqtt_client_free(f->client);
        slow_done(f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                TEST(delivery),
                TEST(messages_down),
                TEST(reconnects),
                TEST(wrong_ca),
                TEST(wrong_name),
                TEST(wrong_address),
                TEST(address_as_name),
                TEST(old_tls),
                TEST(refused_by_broker),
                TEST(no_certificate),
                TEST(missing_ca_file),
                TEST(not_authorized),
                TEST(refused_connection),
                TEST(silent_server),
                TEST(hostile_server),
                TEST(key_in_tpm),
                TEST(broker_gone_while_signing),
                TEST(deadline_while_signing),
                TEST(freed_while_signing),
        };
        return cmocka_run_group_tests_name("mqtt-client", tests, group_setup, group_teardown);
}
