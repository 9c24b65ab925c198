/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* An MQTT client with a session that is kept, as the specification wants one: what was not
 * acknowledged is sent again in order and with its packet identifier, QoS 2 is remembered on both
 * sides, Receive Maximum is held. Its bytes take as long as the test says, and may never arrive.
 * What it sends and hears the model judges. */

#include "mqtt-model.h"

#define CLIENT_EXCHANGES_MAX 8
#define CLIENT_ACKS_MAX      64
#define CLIENT_IDS_MAX       2048
#define CLIENT_ALIASES_MAX   2

/* One Network Connection. */
typedef struct ClientLink {
        MqttWorldClient peer; /* the server's end */
        Buf up, down;         /* sent by the client; read by it */
        size_t arrived;       /* of `up`, at the server */
        size_t old;           /* bytes that were on their way down when time passed */
        ModelConnect connect;
        uint16_t receive_maximum, aliases_max;
        bool attached;  /* the server has taken CONNECT */
        bool connected; /* CONNACK came */
        ModelGoodbye goodbye;
        bool ends_session; /* DISCONNECT said so */
        char aliases[CLIENT_ALIASES_MAX + 1][32];
} ClientLink;

typedef struct ClientExchange {
        unsigned number; /* the message */
        unsigned form;   /* of its topic */
        uint16_t packet_id;
        bool sent, sent_before; /* on this connection; on any */
        bool released;          /* PUBREC came */
} ClientExchange;

typedef struct ModelClient {
        Model *model;
        unsigned index;
        const char *device, *client_id;
        MqttVersion version;

        ClientLink links[2]; /* one in use, one that was given up and the server may not know it */
        unsigned in_use;
        bool must_clean; /* what the server has is not what the client knows */

        ClientExchange exchanges[CLIENT_EXCHANGES_MAX]; /* in the order sent */
        size_t n_exchanges, quota;
        struct {
                MqttType type;
                uint16_t packet_id;
        } acks[CLIENT_ACKS_MAX]; /* to be sent, in order */
        size_t n_acks, n_unacknowledged;
        /* By packet identifier: 1 + the message; 0: none. */
        unsigned unreleased[CLIENT_IDS_MAX]; /* of QoS 2, kept with the session */
        unsigned unacknowledged[CLIENT_IDS_MAX];

        /* SUBSCRIBE or UNSUBSCRIBE that was sent: one at a time. */
        bool asks, asks_to_leave;
        unsigned filter;
        uint8_t filter_qos;
        /* What is retained, as an observer hears it: 1 + the message. */
        bool observes;
        unsigned observed[MODEL_TOPICS];
} ModelClient;

typedef struct ClientOptions {
        bool clean;
        uint32_t expiry; /* seconds, wanted */
        uint16_t receive_maximum;
        uint16_t aliases_max;
        bool has_will;
        ModelMessage will;
} ClientOptions;

/* Opens a connection and sends CONNECT; one that was open is given up. */
void client_open(ModelClient *c, const ClientOptions *o);
/* Sends DISCONNECT. `ends_session`: 5.0 says that the session ends. */
void client_leave(ModelClient *c, ModelGoodbye goodbye, bool ends_session);
/* Both ends of all connections close; what is on its way is lost. */
void client_close(ModelClient *c);
/* The connection that was given up closes. */
void client_close_old(ModelClient *c);
/* The process died, and the world has closed the connections. */
void client_crashed(ModelClient *c);
/* What is on its way was written before now. */
void client_time_passes(ModelClient *c);
bool client_is_open(const ModelClient *c);
bool client_is_connected(const ModelClient *c);

/* QoS 0 needs a connection, the others room. `message` has what is to be sent. */
void client_publish(ModelClient *c, const ModelMessage *message, unsigned form);
void client_subscribe(ModelClient *c, unsigned filter, uint8_t qos);
void client_unsubscribe(ModelClient *c, unsigned filter);
/* All that is retained, once. */
void client_observe(ModelClient *c);
/* Up to so many bytes get on to the server, or to the client, who reads them. */
void client_up(ModelClient *c, size_t bytes);
void client_up_old(ModelClient *c, size_t bytes);
void client_down(ModelClient *c, size_t bytes);
/* Sends the next acknowledgement that is due. */
bool client_acknowledge(ModelClient *c);
/* Nothing is on its way or waits for an answer. */
bool client_is_idle(const ModelClient *c);

/* ---- between its files ---- */

ClientLink *client_link(ModelClient *c);
/* One packet from the server (mqtt-model-client.c). */
void client_hears(ModelClient *c, const MqttFrame *f, bool fresh);
/* Another connection: what has to be said again. */
void client_forget_connection(ModelClient *c);
/* When nothing is on its way, what was sent with QoS 0 has arrived or never will. */
void client_note_arrived(ModelClient *c);
/* Appends to what the client's own memory does not end for. */
void client_must(int error);
