/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The one way in for what devices hand over: posture and policy, quota, store. Both transports
 * end here and answer their peer when it is durable, or with the outcome. */

#include "domain/registry.h"

typedef struct Gateway Gateway;

typedef enum SubmitOutcome {
        SUBMIT_STORED, /* on disk: acknowledge */
        SUBMIT_DENIED, /* posture or policy: MQTT 0x87, CoAP 4.03 */
        SUBMIT_QUOTA,  /* too much of it: MQTT 0x97, CoAP 4.29 */
        SUBMIT_FULL,   /* no room: MQTT 0x97, CoAP 5.03 */
        SUBMIT_FAILED, /* the disk: MQTT 0x80, CoAP 5.00 */
        _SUBMIT_MAX,
} SubmitOutcome;
const char *submit_outcome_to_string(SubmitOutcome o);

typedef struct Submission {
        DeviceState *device;
        bool will;         /* of a client that is gone: what it may was asked before */
        bool charged;      /* to its allowance already, by gateway_charge() */
        const char *topic; /* below the device: "temperature"; or a granted one, all of it; valid
                              UTF-8, no wildcards, no NUL */
        Bytes payload;
        const char *content_type; /* media type, or NULL */
        bool durable;             /* false: QoS 0 or non-confirmable, nobody waits for `done` */
} Submission;

typedef void (*SubmitDone)(SubmitOutcome outcome, void *userdata);
typedef struct SubmitTicket SubmitTicket;

/* Takes a message of `len` bytes off the device's allowance: 0, or how long until there is room. */
usec_t gateway_charge(Gateway *g, DeviceState *d, size_t len);

/* Copies all of `s`. SUBMIT_STORED: it is on its way, with a ticket (if asked for), and `done` is
 * called once, always from the loop and never from inside this call. Anything else: it is refused,
 * and `done` is not called. */
SubmitOutcome gateway_submit(Gateway *g, const Submission *s, SubmitDone done, void *userdata,
                             SubmitTicket **ret_ticket);
/* The peer is gone: `done` will not be called. What was submitted is stored all the same. */
void submit_ticket_cancel(SubmitTicket *t);
