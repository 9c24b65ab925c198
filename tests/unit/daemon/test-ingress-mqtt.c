/* SPDX-License-Identifier: GPL-3.0-or-later */

/* The MQTT door over real TLS on loopback, with mosquitto_pub, mosquitto_sub and openssl(1) as
 * devices. The gateway behind is the test's own: it keeps what is submitted in memory and says
 * "stored" after a while. */

#include <arpa/inet.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include <cmocka.h>

#include "base/list.h"
#include "base/str.h"
#include "daemon/admission.h"
#include "daemon/ingress-mqtt.h"
#include "daemon/submit.h"

#define STORED_MAX 1024
#define CHILD_MAX  (30 * USEC_PER_SEC)

static const char make_certificates[] =
        "set -e; cd \"$0\"\n"
        "new() { openssl ecparam -name prime256v1 -genkey -noout -out $1.key; }\n"
        "ca() { new $1; openssl req -x509 -new -key $1.key -days 2 -subj /CN=$1 -out $1.pem; }\n"
        "leaf() { new $2; openssl req -new -key $2.key -subj /CN=$3 -out $2.csr;\n"
        "  openssl x509 -req -in $2.csr -CA $1.pem -CAkey $1.key -CAcreateserial -out $2.pem "
        "-days $4; }\n"
        "ca ca; ca foreign\n"
        "leaf ca localhost localhost 2; leaf ca dev1 dev1 2; leaf ca stranger stranger 2\n"
        "leaf foreign fake dev1 2; leaf ca old dev1 0; leaf ca dev2 dev2 2\n"
        "printf '[ca]\\ndefault_ca=d\\n[d]\\ndatabase=index\\ndefault_md=sha256\\n' >ca.cnf; : "
        ">index\n"
        "openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -revoke dev1.pem\n"
        "openssl ca -config ca.cnf -cert ca.pem -keyfile ca.key -gencrl -crldays 2 "
        "-out revoked.crl\n";

struct SubmitTicket {
        List link;
        LoopSource *timer;
        SubmitDone done;
        void *userdata;
        Gateway *gateway;
};

struct Gateway {
        char directory[64];
        Loop *loop;
        Store *store;
        IngressMqtt *in;
        Registry *registry;
        Class class;
        Zone zone;
        Device devices[2];
        uint16_t port;
        usec_t delay; /* until something is stored */
        SubmitOutcome outcome;
        List tickets;
        char stored[STORED_MAX][96];
        size_t n_stored;
        unsigned opened, closed, refused;
        unsigned allowed, n_waits; /* messages until the next wait */
        char reason[64];
        int status;
        const char *command; /* published to dev1 when a session is there */
        bool remove;         /* dev1 from the configuration, when something is submitted */
        Trust *review;       /* of the sessions, likewise */
        char output[65536];
};

/* ---- the gateway behind ---- */

static int on_due(void *userdata)
{
        SubmitTicket *t = userdata;
        if (t->done)
                t->done(t->gateway->outcome, t->userdata);
        list_remove(&t->link);
        loop_source_free(t->timer);
        free(t);
        return 0;
}

SubmitOutcome gateway_submit(Gateway *g, const Submission *s, SubmitDone done, void *userdata,
                             SubmitTicket **ret_ticket)
{
        SubmitTicket *t = calloc(1, sizeof(*t));
        assert_non_null(t);
        assert_true(g->n_stored < STORED_MAX);
        snprintf(g->stored[g->n_stored++], sizeof(g->stored[0]), "%s/%s=%.*s %s%d",
                 s->device->device->name, s->topic, (int)s->payload.len,
                 (const char *)s->payload.data, strempty(s->content_type), s->durable);
        *t = (SubmitTicket){ .done = done, .userdata = userdata, .gateway = g };
        assert_int_equal(loop_add_timer(g->loop, &t->timer, LOOP_FATAL, on_due, t), 0);
        loop_timer_arm_relative(t->timer, g->delay);
        list_append(&g->tickets, &t->link);
        return SUBMIT_STORED;
}

usec_t gateway_charge(Gateway *g, DeviceState *d, size_t len)
{
        if (g->allowed == 0) {
                g->allowed = 5;
                g->n_waits++;
                return 100 * USEC_PER_MSEC;
        }
        g->allowed--;
        return 0;
}

const char *submit_outcome_to_string(SubmitOutcome o)
{
        return o == SUBMIT_QUOTA ? "quota" : "other";
}

DeviceState *gateway_admit(Gateway *g, const PeerCertificate *certificate,
                           const struct sockaddr_storage *peer, const char *transport,
                           const char **ret_reason)
{
        DeviceState *d = registry_get(g->registry, certificate->common_name);
        if (!d) {
                *ret_reason = "unknown-device";
                snprintf(g->reason, sizeof(g->reason), "%s", *ret_reason);
        }
        return d;
}

void gateway_refused(Gateway *g, const struct sockaddr_storage *peer, const char *transport,
                     const char *reason, const char *detail)
{
        g->refused++;
        snprintf(g->reason, sizeof(g->reason), "%s", reason);
        print_message("refused: %s, %s\n", reason, detail);
        /* By IPv6 or by IPv4, never by an IPv4 address in IPv6's clothes. */
        if (peer->ss_family == AF_INET6)
                assert_false(IN6_IS_ADDR_V4MAPPED(&((struct sockaddr_in6 *)peer)->sin6_addr));
        else
                assert_int_equal(peer->ss_family, AF_INET);
}

const Registry *gateway_registry(const Gateway *g)
{
        return g->registry;
}

void gateway_session_opened(Gateway *g, DeviceState *d)
{
        g->opened++;
}

void gateway_session_closed(Gateway *g, DeviceState *d)
{
        g->closed++;
}

bool gateway_may_log(Gateway *g, DeviceState *d)
{
        return true;
}

/* ---- running clients ---- */

static void send_command(Gateway *g)
{
        _cleanup_(mqtt_message_unrefp) MqttMessage *m = NULL;
        assert_int_equal(mqtt_message_new(BYTES_LITERAL("dev1/cmd/run"), bytes_from_str(g->command),
                                          1, NULL, 0, &m),
                         0);
        if (ingress_mqtt_publish(g->in, m) > 0)
                g->command = NULL;
}

static void on_removed(DeviceState *d, void *userdata)
{
        ingress_mqtt_forget(((Gateway *)userdata)->in, d);
}

/* As a reload does it: the device is freed right after. */
static void remove_device(Gateway *g)
{
        g->remove = false;
        assert_int_equal(registry_apply(g->registry, &g->devices[1], 1, 0, on_removed, g), 0);
}

static void review(Gateway *g)
{
        ingress_mqtt_review(g->in, g->review, now_realtime());
        g->review = trust_unref(g->review);
}

/* Turns the loop until the child has ended. */
static void wait_child(Gateway *g, pid_t child)
{
        usec_t deadline = now_boottime() + CHILD_MAX;
        while (waitpid(child, &g->status, WNOHANG) != child) {
                assert_true(now_boottime() < deadline);
                assert_true(sd_event_run(loop_sd_event(g->loop), 5 * USEC_PER_MSEC) >= 0);
                if (g->command)
                        send_command(g);
                if (g->remove && g->n_stored > 0)
                        remove_device(g);
                if (g->review && g->n_stored > 0)
                        review(g);
        }
}

/* Turns it until nothing has happened for a moment. */
static void settle(Gateway *g)
{
        for (usec_t until = now_boottime() + 100 * USEC_PER_MSEC; now_boottime() < until;)
                assert_true(sd_event_run(loop_sd_event(g->loop), 5 * USEC_PER_MSEC) >= 0);
}

static void read_output(Gateway *g)
{
        char path[128];
        snprintf(path, sizeof(path), "%s/output", g->directory);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        g->output[fread(g->output, 1, sizeof(g->output) - 1, f)] = '\0';
        fclose(f);
}

static int spawn(const char *script, const char *directory)
{
        pid_t pid = fork();
        if (pid == 0) {
                execl("/bin/bash", "bash", "-c", script, directory, NULL);
                _exit(127);
        }
        assert_true(pid > 0);
        return pid;
}

/* Runs `script` in the directory of the certificates while the loop turns; its exit status. $P is
 * the port, `pub` and `sub` are the clients as the device whose certificate $C names. */
static int run(Gateway *g, const char *script)
{
        char whole[4096];
        snprintf(whole, sizeof(whole),
                 "cd \"$0\"; exec >output 2>&1; P=%u; C=dev1\n"
                 "tls() { echo \"-h localhost -p $P --cafile ca.pem --cert $C.pem --key $C.key\"; "
                 "}\n"
                 "pub() { timeout 20 mosquitto_pub $(tls) -i dev1 \"$@\"; }\n"
                 "sub() { timeout 20 mosquitto_sub $(tls) -i dev1/sub \"$@\"; }\n"
                 "client() { timeout 20 openssl s_client -connect localhost:$P -CAfile ca.pem "
                 "\"$@\"; }\n"
                 "%s",
                 g->port, script);
        wait_child(g, spawn(whole, g->directory));
        settle(g);
        read_output(g);
        print_message("%s", g->output);
        return WIFEXITED(g->status) ? WEXITSTATUS(g->status) : -1;
}

/* ---- the fixture ---- */

static void posture_changed(DeviceState *d, Posture old, void *userdata)
{
}

static void configure(Gateway *g)
{
        static const RegistryPort port = { .posture_changed = posture_changed };
        static char names[2][8] = { "dev1", "dev2" };
        static char own[] = "%d", below[] = "%d/*", *client_ids[] = { own, below, NULL };
        g->class = (Class){
                .name = names[0],
                .telemetry = 1 << POSTURE_UNATTESTED,
                .client_ids = { client_ids, 2 },
                .limits = { .sessions = 8,
                            .subscriptions = 8,
                            .retained_bytes = 4096,
                            .queue_bytes = 65536 },
        };
        for (size_t i = 0; i < 2; i++)
                g->devices[i] = (Device){ .name = names[i],
                                          .zone = &g->zone,
                                          .class = &g->class,
                                          .certificate_name = names[i] };
        assert_int_equal(registry_new(&port, &g->registry), 0);
        assert_int_equal(registry_apply(g->registry, g->devices, 2, 0, NULL, NULL), 0);
}

static Credential *load_credential(const Gateway *g, bool in_tpm)
{
        char path[128];
        snprintf(path, sizeof(path), "%s/localhost.key", g->directory);
        FILE *f = fopen(path, "r");
        EVP_PKEY *key = f ? PEM_read_PrivateKey(f, NULL, NULL, NULL) : NULL;
        assert_non_null(key);
        fclose(f);
        snprintf(path, sizeof(path), "%s/localhost.pem", g->directory);
        f = fopen(path, "r");
        X509 *x = f ? PEM_read_X509(f, NULL, NULL, NULL) : NULL;
        assert_non_null(x);
        fclose(f);
        Credential *c;
        assert_int_equal(credential_new(key, x, NULL, in_tpm, &c), 0);
        EVP_PKEY_free(key);
        X509_free(x);
        return c;
}

static Trust *load_trust(const Gateway *g, const char *list)
{
        char ca[128], path[128];
        const char *lists[] = { path };
        Reason reason = { "" };
        Trust *t = NULL;
        const TrustFiles files = { .authorities = ca, .lists = lists, .n_lists = !!list };
        snprintf(ca, sizeof(ca), "%s/ca.pem", g->directory);
        snprintf(path, sizeof(path), "%s/%s", g->directory, strempty(list));
        assert_int_equal(trust_new(&files, &reason, &t), 0);
        return t;
}

static void open_door(Gateway *g, bool tls12, bool in_tpm)
{
        _cleanup_(trust_unrefp) Trust *trust = load_trust(g, NULL);
        const IngressMqttSettings settings = {
                .trust = trust,
                .store = g->store,
                .session_expiry = USEC_PER_HOUR,
                .minimum_tls_1_3 = !tls12,
                .maximum_packet_size = 64 * 1024,
                .maximum_connections = 20,
                .keep_alive = 60 * USEC_PER_SEC,
        };
        struct sockaddr_storage address = { 0 };
        struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&address;
        v6->sin6_family = AF_INET6; /* [::]: IPv4 as well, and known by the IPv4 address */
        assert_int_equal(ingress_mqtt_new(g, g->loop, &settings, &g->in), 0);
        _cleanup_(credential_unrefp) Credential *c = load_credential(g, in_tpm);
        assert_int_equal(ingress_mqtt_set_credential(g->in, c), 0);
        assert_int_equal(ingress_mqtt_listen_any(g->in, &address, &g->port), 0);
}

static void open_store(Gateway *g)
{
        char path[128];
        snprintf(path, sizeof(path), "%s/store", g->directory);
        assert_int_equal(store_open(g->loop, path, STORE_BYTES_MIN, &g->store), 0);
}

static int set_up(void **state)
{
        Gateway *g = calloc(1, sizeof(*g));
        assert_non_null(g);
        list_init(&g->tickets);
        strcpy(g->directory, "/tmp/test-ingress-mqtt.XXXXXX");
        assert_non_null(mkdtemp(g->directory));
        assert_int_equal(loop_new(&g->loop), 0);
        wait_child(g, spawn(make_certificates, g->directory));
        assert_int_equal(g->status, 0);
        configure(g);
        open_store(g);
        open_door(g, false, false);
        *state = g;
        return 0;
}

static void close_door(Gateway *g)
{
        settle(g);
        LIST_FOREACH (i, &g->tickets) /* who would hear of it is gone */
                LIST_ENTRY(i, SubmitTicket, link)->done = NULL;
        g->in = ingress_mqtt_free(g->in);
        assert_int_equal(g->opened, g->closed);
}

static void restart(Gateway *g, bool tls12, bool in_tpm)
{
        close_door(g);
        g->store = store_free(g->store);
        open_store(g);
        open_door(g, tls12, in_tpm);
}

static int tear_down(void **state)
{
        Gateway *g = *state;
        close_door(g);
        while (!list_empty(&g->tickets))
                settle(g);
        store_free(g->store);
        registry_free(g->registry);
        wait_child(g, spawn("rm -r \"$0\"", g->directory));
        loop_free(g->loop);
        free(g);
        return 0;
}

static int reset(void **state)
{
        Gateway *g = *state;
        g->n_stored = 0;
        g->delay = 0;
        g->allowed = UINT_MAX;
        g->n_waits = 0;
        g->outcome = SUBMIT_STORED;
        g->reason[0] = '\0';
        return 0;
}

/* ---- the tests ---- */

static void publishes(void **state)
{
        Gateway *g = *state;
        assert_int_equal(run(g, "pub -V mqttv311 -q 1 -t temp -m 21 && "
                                "pub -V mqttv5 -q 1 -t dev1/hum -m 40 "
                                "-D publish content-type text/plain && "
                                "pub -V mqttv5 -q 0 -t zero -m x"),
                         0);
        assert_int_equal(g->n_stored, 3);
        assert_string_equal(g->stored[0], "dev1/temp=21 1");
        assert_string_equal(g->stored[1], "dev1/hum=40 text/plain1");
        assert_string_equal(g->stored[2], "dev1/zero=x 0");
}

static void acknowledges_when_stored(void **state)
{
        Gateway *g = *state;
        g->delay = 400 * USEC_PER_MSEC;
        usec_t start = now_boottime();
        assert_int_equal(run(g, "pub -V mqttv311 -q 1 -t temp -m 21"), 0);
        assert_true(now_boottime() - start >= g->delay);
        g->outcome = SUBMIT_QUOTA;
        g->delay = 0;
        run(g, "pub -V mqttv5 -q 1 -t temp -m 21 -d");
        assert_non_null(strstr(g->output, "RC:151")); /* 0x97 */
}

static void takes_many_in_order(void **state)
{
        Gateway *g = *state;
        g->delay = 3 * USEC_PER_MSEC;
        for (unsigned v5 = 0; v5 < 2; v5++) {
                g->n_stored = 0;
                assert_int_equal(run(g, v5 ? "seq 500 | pub -V mqttv5 -q 1 -t n -l"
                                           : "seq 500 | pub -V mqttv311 -q 1 -t n -l"),
                                 0);
                assert_int_equal(g->n_stored, 500);
                for (size_t i = 0; i < 500; i++) {
                        char expected[32];
                        snprintf(expected, sizeof(expected), "dev1/n=%zu 1", i + 1);
                        assert_string_equal(g->stored[i], expected);
                }
        }
}

static void keeps_namespaces(void **state)
{
        Gateway *g = *state;
        run(g, "pub -V mqttv5 -q 1 -t dev2/temp -m 1 -d");
        assert_non_null(strstr(g->output, "RC:135")); /* 0x87 */
        run(g, "sub -V mqttv5 -t dev2/temp -W 2 -d");
        assert_non_null(strstr(g->output, "Subscribed (mid: 1): 135"));
        assert_int_not_equal(run(g, "pub -V mqttv311 -q 1 -t dev2/temp -m 1"), 0);
        assert_int_equal(registry_get(g->registry, "dev1")->messages_refused, 2);
        assert_int_not_equal(run(g, "C=dev1; timeout 5 mosquitto_pub $(tls) -i dev2 -t a -m 1"), 0);
        assert_int_not_equal(run(g, "pub -u user -P secret -t a -m 1"), 0);
        assert_int_equal(g->n_stored, 0);
}

static void delivers_commands(void **state)
{
        Gateway *g = *state;
        g->command = "now";
        assert_int_equal(run(g, "sub -V mqttv311 -q 1 -t 'cmd/#' -C 1 -v"), 0);
        assert_string_equal(g->output, "cmd/run now\n");
        g->command = "again";
        assert_int_equal(run(g, "sub -V mqttv5 -q 1 -t 'dev1/cmd/+' -C 1 -v"), 0);
        assert_string_equal(g->output, "dev1/cmd/run again\n");
}

static void delivers_within_the_device(void **state)
{
        Gateway *g = *state;
        assert_int_equal(
                run(g, "sub -t x -C 1 -v & S=$!; sleep 0.5; pub -q 1 -t x -m hello; wait $S"), 0);
        assert_string_equal(g->output, "x hello\n");
}

static void refuses_before_tls_is_up(void **state)
{
        Gateway *g = *state;
        static const struct {
                const char *script, *reason;
        } t[] = {
                { "C=fake; pub -t a -m 1", "unknown-ca" },
                { "C=old; pub -t a -m 1", "expired" },
                { "C=stranger; pub -t a -m 1", "unknown-device" },
                { "client </dev/null", "no-certificate" },
                { "client -tls1_2 -cert dev1.pem -key dev1.key </dev/null", "protocol-version" },
                { "client -alpn h2 -cert dev1.pem -key dev1.key </dev/null", "wrong-alpn" },
                { "exec 3<>/dev/tcp/127.0.0.1/$P; printf 'GET / HTTP/1.0\r\n\r\n' >&3; cat <&3",
                  "not-tls" },
                { "exec 3<>/dev/tcp/127.0.0.1/$P; printf '\\x10\\x10\\0\\4MQTT' >&3; "
                  "cat <&3",
                  "not-tls" },
                { "exec 3<>/dev/tcp/127.0.0.1/$P; exec 3>&-", "closed" },
        };
        for (size_t i = 0; i < ELEMENTSOF(t); i++) {
                g->reason[0] = '\0';
                run(g, t[i].script);
                if (!streq(g->reason, t[i].reason))
                        fail_msg("%s: %s", t[i].script, g->reason);
        }
        assert_int_equal(g->n_stored, 0);
        assert_int_equal(run(g, "client -alpn mqtt -cert dev1.pem -key dev1.key </dev/null"), 0);
        assert_non_null(strstr(g->output, "ALPN protocol: mqtt"));
        assert_non_null(strstr(g->output, "TLSv1.3"));
}

/* Two visits of a device that keeps its session in a file. */
#define RESUME                                                                                     \
        "visit() { sleep 0.3 | client $V -cert dev1.pem -key dev1.key \"$@\"; }\n"                 \
        "rm -f session; visit -sess_out session >first; grep -q '^New, ' first && "                \
        "visit -sess_in session | grep -o '^Reused, TLSv1.[23]'"

static void resumes(void **state)
{
        Gateway *g = *state;
        uint64_t full, resumed, full_after, resumed_after;
        ingress_mqtt_handshakes(g->in, &full, &resumed);
        unsigned opened = g->opened;
        assert_int_equal(run(g, RESUME), 0);
        assert_non_null(strstr(g->output, "Reused, TLSv1.3"));
        assert_int_equal(g->opened - opened, 2); /* each was asked who it is */
        ingress_mqtt_handshakes(g->in, &full_after, &resumed_after);
        assert_int_equal(full_after - full, 1);
        assert_int_equal(resumed_after - resumed, 1);
        /* Nothing is taken before the handshake is complete. */
        run(g, "client -sess_in session -early_data ca.pem </dev/null");
        assert_non_null(strstr(g->output, "Early data was not sent"));
}

/* The reason reaches a 5.0 client that is refused after TLS, although its input lay unread. */
static void takes_over(void **state)
{
        Gateway *g = *state;
        run(g, "sub -V mqttv5 -t a -d & S=$!; sleep 0.4; "
               "timeout 2 mosquitto_sub $(tls) -i dev1/sub -V mqttv5 -t a; wait $S");
        assert_non_null(strstr(g->output, "DISCONNECT (142)")); /* 0x8e */
}

/* What is too fast is read later: nothing is refused, nothing lost. */
static void holds_back_who_is_too_fast(void **state)
{
        Gateway *g = *state;
        g->allowed = 3;
        assert_int_equal(run(g, "seq 20 | pub -V mqttv5 -q 1 -t n -l"), 0);
        assert_int_equal(g->n_stored, 20);
        assert_true(g->n_waits >= 3);
        assert_string_equal(g->stored[19], "dev1/n=20 1");
}

/* Subscription, queue and retained message of a client that is away outlive the daemon. */
static void keeps_sessions(void **state)
{
        Gateway *g = *state;
        assert_int_equal(run(g, "sub -c -q 2 -t 'a/#' -W 1 -V mqttv311 -E; "
                                "pub -V mqttv5 -q 1 -t a/1 -m one && "
                                "pub -V mqttv311 -q 1 -t a/2 -m two -r"),
                         0);
        restart(g, false, false);
        assert_int_equal(run(g, "sub -c -q 2 -t none -C 2 -v -V mqttv311"), 0);
        assert_string_equal(g->output, "a/1 one\na/2 two\n");
        assert_int_equal(run(g, "sub -t 'dev1/a/+' -C 1 -F '%r %q %t %p' -q 1"), 0);
        assert_string_equal(g->output, "1 1 dev1/a/2 two\n");
        assert_int_equal(run(g, "sub -q 1 -t none -E; pub -q 1 -r -n -t a/2"), 0);
}

/* The will's only reader is the connection that is lost. */
static void publishes_a_will(void **state)
{
        Gateway *g = *state;
        run(g, "timeout -s KILL 1 mosquitto_sub $(tls) -i dev1/sub -V mqttv5 -q 1 -t gone "
               "--will-topic gone --will-payload bye --will-qos 1");
        assert_int_equal(g->n_stored, 1);
        assert_string_equal(g->stored[0], "dev1/gone=bye 1");
}

/* 16 connections are enough for a device: there are places for others. */
static void bounds_a_device(void **state)
{
        Gateway *g = *state;
        unsigned opened = g->opened, refused = g->refused;
        run(g, "for i in {1..18}; do sleep 3 | client -quiet -cert dev1.pem -key dev1.key & "
               "sleep 0.05; done; wait");
        assert_int_equal(g->opened - opened, 16);
        assert_int_equal(g->refused - refused, 2);
        assert_string_equal(g->reason, "too-many-connections");
        assert_int_equal(run(g, "pub -q 1 -t a -m 1"), 0);
}

/* A reload takes the device away while it listens on one connection, has an unanswered message on
 * another and has not said anything on a third. */
static void forgets_a_device(void **state)
{
        Gateway *g = *state;
        unsigned opened = g->opened;
        g->delay = 300 * USEC_PER_MSEC;
        g->remove = true;
        run(g, "sub() { timeout 2 mosquitto_sub $(tls) -i dev1/sub \"$@\"; }\n"
               "sub -V mqttv5 -t 'a/#' -d --will-topic a/b --will-payload bye & S=$!\n"
               "sleep 4 | timeout 4 openssl s_client -quiet -connect localhost:$P -CAfile ca.pem "
               "-cert dev1.pem -key dev1.key & T=$!; sleep 0.5\n"
               "timeout 2 mosquitto_pub $(tls) -i dev1 -V mqttv5 -q 1 -t temp -m 1 -d; wait $S $T");
        assert_true(g->opened >= opened + 3);
        assert_int_equal(g->opened, g->closed);
        assert_string_equal(g->stored[0], "dev1/temp=1 1");
        assert_int_equal(g->n_stored, 1);                       /* who is not known has no will */
        assert_non_null(strstr(g->output, "DISCONNECT (152)")); /* 0x98 */
        assert_null(strstr(g->output, "PUBACK"));
        assert_int_not_equal(run(g, "pub -q 1 -t a -m 1"), 0);
        assert_string_equal(g->reason, "unknown-device");
        assert_int_equal(registry_apply(g->registry, g->devices, 2, 0, NULL, NULL), 0);
}

/* Its certificate is revoked while it is in, and another device too. */
static void ends_who_is_revoked(void **state)
{
        Gateway *g = *state;
        unsigned opened = g->opened, closed = g->closed;
        g->review = load_trust(g, "revoked.crl");
        run(g, "as() { timeout 2 $1 -V mqttv5 -h localhost -p $P --cafile ca.pem --cert $2.pem "
               "--key $2.key \"${@:3}\"; }\n"
               "as mosquitto_sub dev1 -i dev1/sub -t a -d >dev1.out 2>&1 &\n"
               "as mosquitto_sub dev2 -i dev2/sub -t a -d >dev2.out 2>&1 &\n"
               "sleep 0.6; as mosquitto_pub dev2 -i dev2 -t a -m 1; wait\n"
               "cat dev1.out; echo --; cat dev2.out");
        char *other = strstr(g->output, "--\n");
        assert_non_null(other);
        assert_null(strstr(other, "Received DISCONNECT"));
        *other = '\0';
        assert_non_null(strstr(g->output, "DISCONNECT (152)")); /* 0x98 */
        assert_true(g->opened >= opened + 2);
        assert_int_equal(g->closed - closed, g->opened - opened);
}

static void tls_1_2_and_fibers(void **state)
{
        Gateway *g = *state;
        restart(g, true, true);
        assert_int_equal(run(g, "timeout 9 mosquitto_pub $(tls) --tls-version tlsv1.2 -i dev1 "
                                "-q 1 -t old -m 1 && pub -q 1 -t new -m 2"),
                         0);
        assert_int_equal(g->n_stored, 2);
        assert_int_equal(run(g, "V=-tls1_2\n" RESUME), 0);
        assert_non_null(strstr(g->output, "Reused, TLSv1.2"));
        run(g, "C=fake; pub -t a -m 1");
        assert_string_equal(g->reason, "unknown-ca");
        assert_int_equal(run(g, "client -tls1_2 -cipher ECDHE-ECDSA-AES128-SHA256 -cert dev1.pem "
                                "-key dev1.key </dev/null"),
                         1);
        assert_string_equal(g->reason, "no-shared-cipher");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup(publishes, reset),
                cmocka_unit_test_setup(acknowledges_when_stored, reset),
                cmocka_unit_test_setup(takes_many_in_order, reset),
                cmocka_unit_test_setup(keeps_namespaces, reset),
                cmocka_unit_test_setup(delivers_commands, reset),
                cmocka_unit_test_setup(delivers_within_the_device, reset),
                cmocka_unit_test_setup(refuses_before_tls_is_up, reset),
                cmocka_unit_test_setup(resumes, reset),
                cmocka_unit_test_setup(takes_over, reset),
                cmocka_unit_test_setup(holds_back_who_is_too_fast, reset),
                cmocka_unit_test_setup(keeps_sessions, reset),
                cmocka_unit_test_setup(publishes_a_will, reset),
                cmocka_unit_test_setup(bounds_a_device, reset),
                cmocka_unit_test_setup(forgets_a_device, reset),
                cmocka_unit_test_setup(ends_who_is_revoked, reset),
                cmocka_unit_test_setup(tls_1_2_and_fibers, reset),
        };
        signal(SIGPIPE, SIG_IGN); /* as the daemon does */
        return cmocka_run_group_tests(tests, set_up, tear_down);
}
