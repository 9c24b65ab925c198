/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* Shared by uplink.c and uplink-trial.c. */

#include "base/ratelimit.h"
#include "daemon/uplink-backlog.h"
#include "daemon/uplink-caution.h"
#include "daemon/uplink-window.h"
#include "daemon/uplink.h"

#define UPLINK_KINDS 3
#define REWIND_NONE  UINT64_MAX

typedef struct UplinkTrial UplinkTrial;

typedef struct Subscription {
        List link;
        UplinkHandler handler;
        void *userdata;
        char filter[];
} Subscription;

struct Uplink {
        Loop *loop;
        Store *store;
        MqttClient *client;
        UplinkTrial *trial; /* of another beside it; NULL: none */
        LoopSource *turn, *timer;
        char *base; /* "<prefix>/<gateway>/" */
        char *server;
        size_t window_size, window_limit; /* configured, and what the broker takes */
        List subscriptions;

        Window window;
        Holds holds;
        Caution caution;
        Backlog backlogs[UPLINK_KINDS]; /* in the order of precedence */
        uint64_t rewind; /* to look again at all above, when nothing is on its way; REWIND_NONE */
        uint64_t epoch;  /* of the store */
        StoreOp *read;
        Backlog *reading;             /* what `read` is for; NULL: for a trial */
        uint64_t suspect;             /* id, then, of a single record that goes alone */
        usec_t retry_at;              /* a read or a send that failed; USEC_INFINITY: none */
        usec_t patience, progress_at; /* of the last acknowledgement, or of the first record sent */
        uint64_t *delivered;          /* ids to be deleted at the end of the turn */
        size_t n_delivered;

        uint64_t attempts; /* of clients that were in use before */
        UplinkStats stats;
        RateLimit complaints;
};

/* What the client in use calls; `userdata` is the uplink. */
extern const MqttClientEvents uplink_events;

/* uplink-trial.c */
UplinkTrial *uplink_trial_free(UplinkTrial *t);
