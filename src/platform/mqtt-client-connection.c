/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "platform/mqtt-client-internal.h"

#include <errno.h>
#include <fcntl.h>
#include <mosquitto.h>
#include <mqtt_protocol.h>
#include <netdb.h>
#include <openssl/err.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "platform/fiber.h"

/* Reads that one turn may take: libmosquitto leaves what TLS has already read where it is. */
#define READS_MAX     64
#define MISC_INTERVAL USEC_PER_SEC
#define READ_PAUSE    USEC_PER_MSEC

static void destroy(MqttClientConnection *c)
{
        mosquitto_destroy(c->mosq);
        mqtt_tls_done(&c->tls);
        credential_unref(c->credential);
        free(c);
}

static void unwatch(MqttClientConnection *c)
{
        c->io = loop_source_free(c->io);
        if (c->fd >= 0)
                close(c->fd);
        c->fd = -1;
}

/* `code` is the library's error or, from 0x80, the reason of a DISCONNECT; `error` the socket's.
 * 2.0.21 takes a PUBACK with some reasons (0x95, packet too large) for a protocol error: which
 * message it was about is lost then. */
static void note_end(MqttClientConnection *c, int code, int error)
{
        bool network = error == ETIMEDOUT || error == EHOSTUNREACH || error == ENETUNREACH ||
                       error == ENETDOWN || error == EHOSTDOWN;
        /* A DISCONNECT may be read after the reset that followed it was noted. */
        if (c->down && code < 0x80)
                return;
        if (network || code == MOSQ_ERR_KEEPALIVE || code == MOSQ_ERR_NOMEM ||
            mqtt_end_by_itself(code))
                c->end = MQTT_END_LINK;
        else if (code == MQTT_RC_NOT_AUTHORIZED || code == MQTT_RC_QUOTA_EXCEEDED)
                c->end = MQTT_END_DENIED;
        else
                c->end = MQTT_END_BROKER;
}

/* The first reason is the one that counts. */
static void set_down(MqttClientConnection *c, const char *reason)
{
        if (c->down)
                return;
        c->down = true;
        snprintf(c->reason, sizeof(c->reason), "%s", reason);
}

/* In TLS 1.3 a server refuses our certificate after the handshake is complete for us, and its
 * alert may be lost in the reset that follows. */
static void set_down_loss(MqttClientConnection *c, const char *what)
{
        char text[256];
        snprintf(text, sizeof(text),
                 "the server ended the connection after the TLS handshake (%s): it may have refused"
                 " the gateway's certificate",
                 what);
        c->silent = c->tls.finished && !c->up && !c->down;
        set_down(c, c->silent ? text : what);
}

static void set_down_errno(MqttClientConnection *c, int error)
{
        char text[128];
        note_end(c, MOSQ_ERR_ERRNO, error);
        snprintf(text, sizeof(text), "connection failed: %s", strerror(error));
        set_down_loss(c, error > 0 ? text : "connection lost");
}

static void set_down_library(MqttClientConnection *c, int code)
{
        note_end(c, code, 0);
        set_down_loss(c, mosquitto_strerror(code));
}

/* What the socket said, or 0: an error of the socket below TLS is a TLS error to 2.0.21. */
static int socket_error(const MqttClientConnection *c, int code, int error)
{
        if (code == MOSQ_ERR_TLS)
                return c->tls.socket_error;
        return code == MOSQ_ERR_ERRNO ? error : 0;
}

static MqttEnd end_of(const MqttClientConnection *c)
{
        if (c->up)
                return c->end;
        if (c->denied || mqtt_alert_refuses(c->tls.alert))
                return MQTT_END_REFUSED;
        return c->silent ? MQTT_END_DOUBT : MQTT_END_LINK;
}

/* The library writes a line for each packet, whoever reads it; what is needed of them all is why a
 * handshake failed. */
static void stop_log(struct mosquitto *m)
{
        if (!log_enabled(LOG_DEBUG))
                mosquitto_log_callback_set(m, NULL);
}

/* Callbacks of the library only take notes: they may run on a fiber, inside its calls. */
static void on_connect(struct mosquitto *m, void *userdata, int code, int flags,
                       const mosquitto_property *properties)
{
        MqttClientConnection *c = userdata;
        uint8_t maximum_qos = 2;
        if (code != 0) {
                char text[128];
                snprintf(text, sizeof(text), "the broker refused the connection: %s",
                         mosquitto_reason_string(code));
                c->denied = mqtt_connack_denies(code);
                set_down(c, text);
                return;
        }
        c->limits.receive_maximum = UINT16_MAX;
        mosquitto_property_read_int16(properties, MQTT_PROP_RECEIVE_MAXIMUM,
                                      &c->limits.receive_maximum, false);
        mosquitto_property_read_int32(properties, MQTT_PROP_MAXIMUM_PACKET_SIZE,
                                      &c->limits.maximum_packet_size, false);
        mosquitto_property_read_byte(properties, MQTT_PROP_MAXIMUM_QOS, &maximum_qos, false);
        if (maximum_qos == 0) {
                set_down(c, "the broker takes no QoS 1, so nothing could be delivered safely");
                return;
        }
        c->up = c->report_up = true;
        stop_log(m);
}

static void on_disconnect(struct mosquitto *m, void *userdata, int code,
                          const mosquitto_property *properties)
{
        MqttClientConnection *c = userdata;
        char text[128];
        int error = socket_error(c, code, errno);
        note_end(c, code, error);
        if (code >= 0x80)
                snprintf(text, sizeof(text), "the broker disconnected: %s",
                         mosquitto_reason_string(code));
        else if (error > 0)
                snprintf(text, sizeof(text), "connection lost: %s", strerror(error));
        else
                snprintf(text, sizeof(text), "connection lost: %s", mosquitto_strerror(code));
        bool closed = code == MOSQ_ERR_SUCCESS || code == MOSQ_ERR_CONN_LOST;
        set_down_loss(c, closed ? "the server closed the connection" : text);
}

static void on_publish(struct mosquitto *m, void *userdata, int mid, int code,
                       const mosquitto_property *properties)
{
        MqttClientConnection *c = userdata;
        if (!c->abandoned)
                c->events.acknowledged(mid, (uint8_t)code, c->userdata);
}

static void on_message(struct mosquitto *m, void *userdata, const struct mosquitto_message *message,
                       const mosquitto_property *properties)
{
        MqttClientConnection *c = userdata;
        if (c->abandoned)
                return;
        char *type = NULL;
        mosquitto_property_read_string(properties, MQTT_PROP_CONTENT_TYPE, &type, false);
        const MqttClientMessage view = {
                .topic = message->topic,
                .payload = BYTES(message->payload, (size_t)message->payloadlen),
                .content_type = type,
                .retained = message->retain,
        };
        c->events.message(&view, c->userdata);
        free(type);
}

static void on_subscribed(struct mosquitto *m, void *userdata, int mid, int n, const int *granted,
                          const mosquitto_property *properties)
{
        MqttClientConnection *c = userdata;
        for (int i = 0; i < n; i++)
                if (granted[i] >= 0x80 && ratelimit_take(&c->refusals, now_boottime()))
                        log_warning("The upstream broker refused a subscription: %s",
                                    mosquitto_reason_string(granted[i]));
}

/* A library error without a better reason; the TLS errors of the library are only in its log. What
 * the socket said is not one of them. */
static void on_log(struct mosquitto *m, void *userdata, int level, const char *text)
{
        MqttClientConnection *c = userdata;
        const char *last = strrchr(text, ':');
        unsigned long code = 0; /* "OpenSSL Error[0]: error:80000068:system library::..." */
        log_debug("libmosquitto: %s", text);
        if (level != MOSQ_LOG_ERR || c->tls.reason[0])
                return;
        sscanf(text, "OpenSSL Error[%*d]: error:%lx", &code);
        if (code != 0 && !ERR_SYSTEM_ERROR(code) && last)
                snprintf(c->tls.reason, sizeof(c->tls.reason), "TLS failed: %s", last + 1);
}

/* NULL: there is none (any more). */
static SSL *ssl_of(MqttClientConnection *c)
{
        return mosquitto_socket(c->mosq) >= 0 ? mosquitto_ssl_get(c->mosq) : NULL;
}

static bool has_unread(MqttClientConnection *c)
{
        SSL *ssl = ssl_of(c);
        return ssl && mqtt_tls_has_unread(ssl);
}

static int read_all(MqttClientConnection *c)
{
        int r = mosquitto_loop_read(c->mosq, 1);
        for (unsigned i = 0; i < READS_MAX && r == MOSQ_ERR_SUCCESS && has_unread(c); i++)
                r = mosquitto_loop_read(c->mosq, 1);
        return r;
}

static void flush(MqttClientConnection *c)
{
        SSL *ssl = ssl_of(c);
        int r = ssl ? mqtt_tls_flush(&c->tls, ssl) : 0;
        c->blocked = r > 0;
        if (r < 0)
                set_down_errno(c, c->tls.socket_error);
}

/* A server that refuses our certificate says so and resets: the alert may still be there to be
 * read, after the reason of the socket was noted. */
static int broken(MqttClientConnection *c)
{
        int error = 0;
        socklen_t len = sizeof(error);
        getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &len);
        set_down_errno(c, error > 0 ? error : c->connect_error);
        if (c->ready & LOOP_READ)
                read_all(c);
        return MOSQ_ERR_CONN_LOST;
}

/* The library swallows what the socket says of a connect that fails at once. */
static int do_connect(MqttClientConnection *c)
{
        errno = 0;
        int r = mosquitto_connect_async(c->mosq, c->address, c->port, c->keep_alive);
        if (errno != EAGAIN && errno != EINPROGRESS)
                c->connect_error = errno;
        return r;
}

/* A broker acknowledges each message by itself: read one by one, that costs more than the message
 * did. Where they come in quick succession the next ones are left to gather in the socket. */
static void pause_reading(MqttClientConnection *c)
{
        usec_t now = now_boottime();
        c->paused = c->up && now - c->read_at < 2 * READ_PAUSE &&
                    loop_timer_arm(c->pause, usec_add(now, READ_PAUSE)) == 0;
        c->read_at = now;
}

/* libmosquitto 2.0.11 takes no notice of a refused connect and is called for ever: an error or a
 * hang-up after which nothing more was read ends the connection. */
static int do_io(MqttClientConnection *c)
{
        if (c->ready & LOOP_ERROR)
                return broken(c);
        int r = MOSQ_ERR_SUCCESS;
        if (c->ready & (LOOP_READ | LOOP_HANGUP))
                r = read_all(c);
        if (r == MOSQ_ERR_SUCCESS && c->ready == LOOP_READ)
                pause_reading(c);
        if (r == MOSQ_ERR_SUCCESS && (c->ready & LOOP_WRITE)) {
                flush(c);
                r = mosquitto_loop_write(c->mosq, 1);
        }
        if (r == MOSQ_ERR_SUCCESS && (c->ready & LOOP_HANGUP))
                r = broken(c);
        return r;
}

static int do_call(MqttClientConnection *c)
{
        switch (c->call) {
        case CALL_CONNECT:
                return do_connect(c);
        case CALL_IO:
                return do_io(c);
        case CALL_MISC:
                return mosquitto_loop_misc(c->mosq);
        }
        return MOSQ_ERR_INVAL;
}

static int on_io(int fd, unsigned events, void *userdata);

/* 2.0.21 wants to write as long as a packet waits, also where the handshake has to read first. */
static bool wants_write(MqttClientConnection *c)
{
        SSL *ssl = mosquitto_ssl_get(c->mosq);
        bool handshake_reads = ssl && SSL_in_init(ssl) && SSL_want_read(ssl);
        return c->blocked || (!handshake_reads && mosquitto_want_write(c->mosq));
}

static int watch(MqttClientConnection *c)
{
        int fd = mosquitto_socket(c->mosq);
        unsigned want = (c->paused ? 0U : LOOP_READ) | (wants_write(c) ? LOOP_WRITE : 0U);
        if (c->io && c->watched == want)
                return 0;
        c->watched = want;
        if (c->io)
                return loop_source_set_io_events(c->io, want);
        c->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
        if (c->fd < 0)
                return -errno;
        return loop_add_io(c->loop, &c->io, c->fd, want, LOOP_PEER, on_io, c);
}

/* Without memory for it every message goes by itself. */
static void gather(MqttClientConnection *c)
{
        SSL *ssl = ssl_of(c);
        if (!ssl)
                return;
        if (c->up && !c->gathers)
                c->gathers = mqtt_tls_gather(ssl) == 0;
        if (mqtt_tls_has_unread(ssl) || (!c->blocked && mqtt_tls_has_gathered(ssl)))
                loop_defer(c->turn);
}

void mqtt_client_connection_settle(MqttClientConnection *c)
{
        if (!c->down && mosquitto_socket(c->mosq) < 0)
                set_down(c, "connection lost");
        if (!c->down)
                gather(c);
        if (!c->down && watch(c) < 0)
                set_down(c, "cannot watch the connection");
        if (c->down)
                unwatch(c);
        if (c->down || c->report_up)
                loop_defer(c->report);
}

/* The connection may be freed while a call waits: then this is the last to see it. */
static void run_call(void *userdata)
{
        MqttClientConnection *c = userdata;
        int r = do_call(c);
        int error = socket_error(c, r, errno);
        c->busy = false;
        if (c->abandoned) {
                destroy(c);
                return;
        }
        if (r == MOSQ_ERR_ERRNO || error > 0)
                set_down_errno(c, error);
        else if (r > 0)
                set_down_library(c, r);
        mqtt_client_connection_settle(c);
}

static void call(MqttClientConnection *c, Call which)
{
        if (c->busy || c->down)
                return;
        c->call = which;
        c->busy = true;
        bool may_sign = c->credential && credential_in_tpm(c->credential) && !c->up;
        if (!may_sign) {
                run_call(c);
                return;
        }
        if (fiber_spawn(run_call, c) < 0) {
                c->busy = false;
                set_down(c, "no memory for the TLS handshake");
                mqtt_client_connection_settle(c);
                return;
        }
        /* Hang-ups are told even to who asks for no event: while the fiber waits nobody listens. */
        if (c->busy)
                unwatch(c);
}

static int on_io(int fd, unsigned events, void *userdata)
{
        MqttClientConnection *c = userdata;
        c->ready = events;
        call(c, CALL_IO);
        return 0;
}

static int on_misc(void *userdata)
{
        MqttClientConnection *c = userdata;
        if (c->up)
                call(c, CALL_MISC);
        return loop_timer_arm_relative(c->misc, MISC_INTERVAL);
}

static int on_pause_over(void *userdata)
{
        MqttClientConnection *c = userdata;
        c->paused = false;
        if (!c->busy && !c->down)
                mqtt_client_connection_settle(c);
        return 0;
}

static int on_turn(void *userdata)
{
        MqttClientConnection *c = userdata;
        if (c->busy || c->down)
                return 0;
        c->ready = LOOP_READ;
        if (has_unread(c))
                call(c, CALL_IO);
        if (c->busy || c->down)
                return 0;
        flush(c);
        if (!c->down && watch(c) < 0)
                set_down(c, "cannot watch the connection");
        if (c->down)
                mqtt_client_connection_settle(c);
        return 0;
}

/* Each of the two callbacks may free the connection: nothing is touched after them. */
static int on_report(void *userdata)
{
        MqttClientConnection *c = userdata;
        if (c->report_up) {
                c->report_up = false;
                if (c->down)
                        loop_defer(c->report);
                c->events.up(&c->limits, c->userdata);
                return 0;
        }
        if (c->down) /* what TLS says is the better reason */
                c->events.down(end_of(c), c->tls.reason[0] ? c->tls.reason : c->reason,
                               c->userdata);
        return 0;
}

/* The library writes by SSL_write(), which nothing can keep from raising SIGPIPE where the server
 * is gone. 2.0.11 ignored the signal for the whole process, 2.0.21 leaves that to us. */
static void init_library(void)
{
        signal(SIGPIPE, SIG_IGN);
        mosquitto_lib_init();
}

static int set_up_library(MqttClientConnection *c, const MqttClientConfig *config)
{
        static pthread_once_t once = PTHREAD_ONCE_INIT;
        pthread_once(&once, init_library);
        c->mosq = mosquitto_new(config->client_id, true, c);
        if (!c->mosq)
                return errno == EINVAL ? -EINVAL : -ENOMEM;
        mosquitto_int_option(c->mosq, MOSQ_OPT_PROTOCOL_VERSION, MQTT_PROTOCOL_V5);
        mosquitto_int_option(c->mosq, MOSQ_OPT_TCP_NODELAY, 1);
        mosquitto_int_option(c->mosq, MOSQ_OPT_SEND_MAXIMUM, UINT16_MAX);
        mosquitto_int_option(c->mosq, MOSQ_OPT_SSL_CTX_WITH_DEFAULTS, 0);
        mosquitto_void_option(c->mosq, MOSQ_OPT_SSL_CTX, c->tls.ctx);
        mosquitto_connect_v5_callback_set(c->mosq, on_connect);
        mosquitto_disconnect_v5_callback_set(c->mosq, on_disconnect);
        mosquitto_publish_v5_callback_set(c->mosq, on_publish);
        mosquitto_message_v5_callback_set(c->mosq, on_message);
        mosquitto_subscribe_v5_callback_set(c->mosq, on_subscribed);
        mosquitto_log_callback_set(c->mosq, on_log);
        return 0;
}

static int set_address(MqttClientConnection *c, const struct sockaddr_storage *address)
{
        char port[NI_MAXSERV];
        socklen_t len = address->ss_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                       : sizeof(struct sockaddr_in);
        if (getnameinfo((const struct sockaddr *)address, len, c->address, sizeof(c->address), port,
                        sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV) != 0)
                return -EINVAL;
        c->port = atoi(port);
        return 0;
}

static int add_sources(MqttClientConnection *c)
{
        int r = loop_add_timer(c->loop, &c->misc, LOOP_PEER, on_misc, c);
        if (r == 0)
                r = loop_timer_arm_relative(c->misc, MISC_INTERVAL);
        if (r == 0)
                r = loop_add_deferred(c->loop, &c->report, LOOP_PEER, on_report, c);
        if (r == 0)
                r = loop_add_timer(c->loop, &c->pause, LOOP_PEER, on_pause_over, c);
        if (r == 0)
                r = loop_add_deferred(c->loop, &c->turn, LOOP_PEER, on_turn, c);
        return r;
}

int mqtt_client_connection_new(Loop *l, const MqttClientConfig *config, Credential *credential,
                               const struct sockaddr_storage *address,
                               const MqttClientConnectionEvents *events, void *userdata,
                               MqttClientConnection **ret)
{
        MqttClientConnection *c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        c->loop = l;
        c->events = *events;
        c->userdata = userdata;
        c->credential = credential_ref(credential);
        c->fd = -1;
        c->refusals = RATELIMIT_INIT(USEC_PER_MIN, 5);
        c->keep_alive = MAX(config->keep_alive, 5);
        int r = set_address(c, address);
        if (r == 0)
                r = add_sources(c);
        /* A TLS side that cannot be set up is an attempt that failed, with a reason to show. */
        bool usable = r == 0 && mqtt_tls_init(&c->tls, config, credential) == 0;
        if (usable)
                r = set_up_library(c, config);
        if (r < 0) {
                mqtt_client_connection_free(c);
                return r;
        }
        *ret = c;
        if (usable) {
                call(c, CALL_CONNECT);
        } else {
                set_down(c, "TLS cannot be set up");
                loop_defer(c->report);
        }
        return 0;
}

MqttClientConnection *mqtt_client_connection_free(MqttClientConnection *c)
{
        if (!c)
                return NULL;
        unwatch(c);
        c->misc = loop_source_free(c->misc);
        c->report = loop_source_free(c->report);
        c->pause = loop_source_free(c->pause);
        c->turn = loop_source_free(c->turn);
        if (c->busy) {
                c->abandoned = true;
                return NULL;
        }
        if (c->up && !c->down) /* what is gathered goes out before TLS's own goodbye */
                mosquitto_disconnect_v5(c->mosq, MQTT_RC_NORMAL_DISCONNECTION, NULL);
        destroy(c);
        return NULL;
}
