/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What an MQTT server owes to its clients, from what they sent and heard alone. What is on its way
 * may have happened or not: a message may be delivered where its publishing and a subscription may
 * have met, and has to be where both are certain. Knows nothing of how the server works.
 *
 * Moments are counts of events; times are CLOCK_REALTIME in microseconds, which goes on over a
 * boot. The first promise that was broken is kept in `wrong`. */

#include "mqtt-world.h"

#define MODEL_CLIENTS      3
#define MODEL_TOPICS       3
#define MODEL_FILTERS      5
#define MODEL_MESSAGES_MAX 64
#define MODEL_CHANGES_MAX  48
#define MODEL_NONE         UINT32_MAX /* no message; one without payload */

/* A filter as a client writes it; what it brings is written with the device in front or not. */
typedef struct ModelFilter {
        const char *text;
        unsigned form;   /* 0: below the device, 1: absolute */
        unsigned topics; /* bits */
        bool shared;
} ModelFilter;

extern const char *const model_topics[2][MODEL_TOPICS];
extern const ModelFilter model_filters[MODEL_CLIENTS][MODEL_FILTERS];

typedef enum ModelOutcome {
        MODEL_OPEN,
        MODEL_TAKEN,
        MODEL_REFUSED,
        MODEL_UNKNOWN, /* its publisher does not ask any more */
} ModelOutcome;

typedef struct ModelMessage {
        unsigned publisher, topic;
        uint8_t qos;
        bool retain, clear; /* clear: without payload */
        bool will;
        uint32_t lifetime;    /* seconds; 0: no end */
        usec_t sent, ended;   /* times */
        uint64_t from, until; /* in between the server has taken it, if it has */
        ModelOutcome outcome;
        unsigned n_records; /* upstream */
        unsigned n_shared;  /* deliveries by the shared subscription */
        unsigned n_exact;   /* of all: see ModelCopy */
        /* Of a will: no sooner than, at the latest. Times; infinity: not. */
        uint32_t delay;
        usec_t may_from, must_from;
        uint64_t withdrawn; /* a crash may bring it back as long as that is not on disk; 0: not */
        bool sure;          /* CONNACK came */
} ModelMessage;

/* From here to the next change. */
typedef struct ModelChange {
        uint64_t at;
        bool may, sure;
        uint8_t qos_min, qos_max;
} ModelChange;

typedef struct ModelSubscription {
        ModelChange changes[MODEL_CHANGES_MAX];
        unsigned n;
        unsigned n_asked; /* in this session */
} ModelSubscription;

/* Of a message, written in one form. */
typedef struct ModelCopy {
        unsigned n, n_exact; /* exact: with the QoS of the message, 0 or 2 */
        unsigned n_retained;
        uint16_t packet_id;
        uint64_t at; /* the last one */
} ModelCopy;

/* A session as its client knows it. */
typedef struct ModelSession {
        uint64_t since, connected; /* when its first CONNECT was sent, and its CONNACK came */
        ModelSubscription subscriptions[MODEL_FILTERS];
        unsigned no_local; /* bits: which filters bring nothing that the client published itself */
        ModelCopy copies[MODEL_MESSAGES_MAX][2];
        int64_t last[MODEL_CLIENTS][MODEL_TOPICS][3][2]; /* by publisher, topic, QoS, form */
        uint64_t link_ended;                             /* the last that the server knew */

        bool known;               /* the client has its state */
        bool attached;            /* to a connection */
        usec_t must_end_before;   /* without the last CONNECT, which may be lost */
        usec_t must_end, may_end; /* it is there before, and not after; times */
        uint32_t shorter, longer; /* expiry that the server may hold, seconds */
        uint32_t earlier;         /* the longest before DISCONNECT said another */
        uint64_t closed;
        uint32_t will; /* that the server holds; MODEL_NONE */
} ModelSession;

typedef struct Model {
        MqttWorld world;
        uint64_t clock;
        uint64_t settled; /* nothing was left to be written */
        uint64_t crashed;
        bool failed; /* the disk refused something */
        ModelMessage messages[MODEL_MESSAGES_MAX];
        unsigned n_messages;
        size_t n_records; /* that were looked at */
        ModelSession sessions[MODEL_CLIENTS];
        const char *wrong;
        bool tracing;
} Model;

void model_init(Model *m);
void model_require(Model *m, bool ok, const char *what);
void model_trace(const Model *m, const char *format, ...) _printf_(2, 3);

/* ---- messages (mqtt-model.c) ---- */

bool model_has_room(const Model *m);
/* Its number. */
unsigned model_publishing(Model *m, const ModelMessage *message);
void model_published(Model *m, unsigned number, ModelOutcome outcome);
/* What came from the server. */
typedef struct ModelArrival {
        unsigned number;
        Bytes topic;
        uint8_t qos;
        bool dup, retain;
        bool repeated; /* QoS 2: the client has it already, and does not take it again */
        uint16_t packet_id;
        bool has_expiry;
        uint32_t expiry;
        bool fresh; /* written now, not some time ago */
} ModelArrival;
void model_arrived(Model *m, unsigned client, const ModelArrival *a);
/* Looks at what the upstream will get. */
void model_look_at_records(Model *m);
/* Once all has come to rest. */
void model_check_messages(Model *m);
/* Whether `number`, or nothing (MODEL_NONE), may be what is retained for the topic. */
bool model_may_be_retained(const Model *m, unsigned topic, unsigned number);

/* ---- subscriptions ---- */

bool model_may_change(const ModelSession *s, unsigned filter);
void model_subscribing(Model *m, unsigned client, unsigned filter, uint8_t qos);
void model_subscribed(Model *m, unsigned client, unsigned filter, uint8_t qos);
void model_unsubscribing(Model *m, unsigned client, unsigned filter);
void model_unsubscribed(Model *m, unsigned client, unsigned filter);

/* ---- sessions and wills (mqtt-model-session.c) ---- */

typedef struct ModelConnect {
        bool clean;
        uint32_t expiry;      /* seconds, as agreed on */
        uint32_t will;        /* MODEL_NONE */
        uint64_t at;          /* when CONNECT was sent */
        bool may_be, must_be; /* session present; set by model_attached() */
} ModelConnect;

/* The server has taken CONNECT; another connection that it knew was told to model_detached()
 * before. */
void model_attached(Model *m, unsigned client, ModelConnect *c);
/* CONNACK came. False: the session is another one, the client has to forget its state. */
bool model_connected(Model *m, unsigned client, const ModelConnect *c, bool present);

typedef enum ModelGoodbye {
        MODEL_NO_GOODBYE,
        MODEL_GOODBYE,
        MODEL_GOODBYE_WITH_WILL,
} ModelGoodbye;
/* The connection has closed, after CONNECT was taken. */
void model_detached(Model *m, unsigned client, ModelGoodbye goodbye, const uint32_t *expiry);
/* All are gone; what was settled is there again. */
void model_crashed(Model *m);
/* Wills that should have been published by now were. */
void model_check_wills(Model *m);
