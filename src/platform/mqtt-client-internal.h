/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by the files of platform/mqtt-client-connection; nobody else's. */

#include <mosquitto.h>
#include <netdb.h>

#include "base/ratelimit.h"
#include "platform/mqtt-client-connection.h"
#include "platform/mqtt-end.h"
#include "platform/mqtt-tls.h"

typedef enum Call {
        CALL_CONNECT,
        CALL_IO,
        CALL_MISC,
} Call;

struct MqttClientConnection {
        Loop *loop;
        MqttClientConnectionEvents events;
        void *userdata;

        struct mosquitto *mosq;
        MqttTls tls;
        Credential *credential;
        char address[NI_MAXHOST];
        int port, keep_alive;

        int connect_error;
        int fd; /* a dup: libmosquitto closes its own at any time */
        LoopSource *io, *misc, *report;
        LoopSource *pause; /* until it reads again */
        LoopSource *turn;  /* for what is gathered, or was left unread */
        unsigned watched;

        Call call;
        unsigned ready;
        bool busy;      /* a call is under way, perhaps waiting on a fiber */
        bool abandoned; /* freed while busy: the fiber cleans up */
        bool up, down, report_up;
        bool gathers;        /* what is written */
        bool paused;         /* does not read now */
        usec_t read_at;      /* when it last did */
        bool blocked;        /* the socket takes no more of it now */
        bool denied, silent; /* by CONNACK; lost after the handshake, with no word */
        MqttEnd end;
        MqttLimits limits;
        RateLimit refusals; /* that are logged: a broker may send any number */
        char reason[512];
};

/* After each call: is it still there, what does it wait for, is there something to report? */
void mqtt_client_connection_settle(MqttClientConnection *c);
