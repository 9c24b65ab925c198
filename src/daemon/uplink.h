/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What waits in the store goes to the upstream broker and is forgotten when the broker has it.
 *
 * A window of records is on its way at a time, reports before telemetry, in the order of their
 * ids. After a reconnect it starts again from the oldest: at most a window is sent twice, and
 * `epoch` with `sequence` tell the receiver which. A record that the broker refuses for good
 * (malformed, too large) is dropped, loudly; after any other refusal the device's records wait and
 * are tried again, so that one device without rights upstream does not hold up the others. A record
 * that makes the broker end the connection is set aside, and dropped only when it is beyond doubt
 * that it is the cause (uplink-caution.h). */

#include "platform/mqtt-client.h"
#include "platform/store.h"

#define UPLINK_WINDOW_DEFAULT 500

typedef struct UplinkConfig {
        MqttClientConfig client;  /* `window`: 0 is UPLINK_WINDOW_DEFAULT */
        const char *topic_prefix; /* without '/' at its ends */
        const char *gateway;      /* this gateway's name in topics */
        /* Times, 0: the default. */
        usec_t suspect_wait; /* a record is first set aside for; 10 s */
        usec_t patience;     /* without any acknowledgement, then it connects anew; 5 min */
} UplinkConfig;

typedef struct UplinkStats {
        bool connected;
        usec_t since; /* CLOCK_REALTIME of the last change of `connected`, or of the start */
        uint64_t attempts;
        size_t in_flight;
        size_t held;          /* devices whose records wait after a refusal */
        size_t set_aside;     /* records that seem to end the connection */
        uint64_t sent;        /* with repetitions */
        uint64_t delivered;   /* acknowledged by the broker */
        uint64_t refused;     /* by the broker, to be tried again */
        uint64_t dropped;     /* that the broker can never take */
        char last_error[256]; /* a sentence, "" when there was none */
        usec_t last_error_at; /* CLOCK_REALTIME */
} UplinkStats;

typedef struct Uplink Uplink;

/* `topic` is the part below <prefix>/<gateway>/. Both hold during the call. */
typedef void (*UplinkHandler)(const char *topic, const MqttClientMessage *message, void *userdata);

/* Begins to connect from the loop. Watches the store: it has one watcher. The store must outlive
 * the uplink. */
int uplink_new(Loop *l, Store *store, const UplinkConfig *config, Credential *credential,
               Uplink **ret);
Uplink *uplink_free(Uplink *u);
DEFINE_CLEANUP(Uplink, uplink_free)

/* What a second connection beside the one in use found out. */
typedef enum UplinkVerdict {
        UPLINK_ACCEPTED,    /* it is the one in use now; records go on from where they were */
        UPLINK_REFUSED,     /* the broker does not let this certificate in, and says so */
        UPLINK_DOUBTED,     /* it ended the connection without a word */
        UPLINK_UNREACHABLE, /* nothing was learned of the certificate */
} UplinkVerdict;

/* Called once, from the loop. `reason` is half a sentence, "" for UPLINK_ACCEPTED. */
typedef void (*UplinkTried)(UplinkVerdict verdict, const char *reason, void *userdata);

/* Tries another credential on a connection of its own: the one in use goes on until the broker has
 * accepted the new one, and stays when it does not. -EBUSY: a trial is under way. */
int uplink_try_credential(Uplink *u, Credential *credential, UplinkTried done, void *userdata);
/* `done` of a trial under way will not be called. */
void uplink_stop_trial(Uplink *u);
/* Another server, or the same by other rules. A connection by them is tried beside the one in use
 * and takes its place, at once where it succeeds; where it does not, the one in use ends too: it
 * is not allowed any more. The caller ends a trial under way before. `client.window` does not
 * change. */
int uplink_change(Uplink *u, const MqttClientConfig *client);

/* Messages on <prefix>/<gateway>/<filter> go to `handler`, over all reconnects. -EINVAL for a
 * filter that is not valid. */
int uplink_subscribe(Uplink *u, const char *filter, UplinkHandler handler, void *userdata);
void uplink_stats(const Uplink *u, UplinkStats *ret);
