/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The devices of this gateway at run time: who is who, what posture each has and why. Survives a
 * reload of the configuration: the state of a device that is still configured is kept. */

#include "base/hashmap.h"
#include "base/ratelimit.h"
#include "domain/device.h"
#include "domain/quota.h"

#define REASON_MAX 160

typedef struct DeviceState {
        const Device *device; /* of the configuration in force */
        Posture posture;
        char reason[REASON_MAX]; /* why it has this posture, one line for a person */
        usec_t since;            /* CLOCK_BOOTTIME, when the posture began */
        usec_t expires;          /* CLOCK_BOOTTIME, when it falls back to unattested; or infinity,
                                    as always for unattested and contraindicated */
        bool quarantined;        /* by the operator: closed whatever the posture says */
        char quarantine_reason[REASON_MAX];
        usec_t quarantined_since; /* CLOCK_BOOTTIME, 0: is not */
        bool revoked;             /* its certificate: closed until it shows another one */
        char revoked_reason[REASON_MAX];
        usec_t revoked_since; /* CLOCK_BOOTTIME, 0: is not */

        /* The certificate it showed last. */
        bool has_certificate;
        char certificate_subject[256];
        char certificate_issuer[256];
        char certificate_serial[64];
        uint8_t certificate_spki_sha256[32];
        usec_t certificate_not_after; /* CLOCK_REALTIME */

        char peer[64];             /* address and port it was last seen at; "" for never */
        char transport[8];         /* "mqtt" or "coap" */
        unsigned mqtt_connections; /* the MQTT door's count */
        unsigned sessions;
        usec_t last_seen; /* CLOCK_BOOTTIME, 0: never */
        uint64_t messages_in, bytes_in, messages_refused;
        Quota quota;     /* what it may hand over */
        RateLimit lines; /* in the log that its connections and denials may cause */
} DeviceState;

typedef struct Registry Registry;

/* What a change of posture has to reach: the packet filter, the audit log, the control bus.
 * Called after the state has changed, before the call that changed it returns; but never from
 * inside another call of the port: what is changed there is heard of right after it. `old` is the
 * effective posture that was heard of last. Devices are not to be applied from within the port. */
typedef struct RegistryPort {
        void (*posture_changed)(DeviceState *d, Posture old, void *userdata);
        void *userdata;
} RegistryPort;

int registry_new(const RegistryPort *port, Registry **ret);
Registry *registry_free(Registry *r);
DEFINE_CLEANUP(Registry, registry_free)

/* Makes ready to take over a new list of devices, so that nothing can fail any more afterwards.
 * -ENOMEM, or -EEXIST for two devices of one name, certificate name or pin: nothing is prepared.
 * Between this and _commit() or _cancel() the registry may be read, not changed. */
int registry_prepare(Registry *r, const Device *devices, size_t n, usec_t now);
/* Takes over what was prepared; the list must outlive the next call. States of names that are gone
 * are freed after `removed` was called for each. A device that is enrolled anew starts unattested
 * again. */
void registry_commit(Registry *r, usec_t now, void (*removed)(DeviceState *d, void *userdata),
                     void *userdata);
/* Forgets what was prepared; nothing has changed. */
void registry_cancel(Registry *r);
/* Both at once. */
int registry_apply(Registry *r, const Device *devices, size_t n, usec_t now,
                   void (*removed)(DeviceState *d, void *userdata), void *userdata);
/* The state that the device `d` of a new list will have once it is taken over: for who must know
 * it before. */
void registry_foresee(const Registry *r, const Device *d, usec_t now, DeviceState *ret);

/* What makes `now` another enrolment than `before`, so that nothing which the one has shown counts
 * for the other: its class, its certificate or what it attests with. A sentence, or NULL. */
const char *registry_enrolled_anew(const Device *before, const Device *now);

DeviceState *registry_get(const Registry *r, const char *name);
size_t registry_size(const Registry *r);
/* In order of name; `i` from 0. */
DeviceState *registry_at(const Registry *r, size_t i);

typedef enum IdentifyOutcome {
        IDENTIFY_OK,
        IDENTIFY_UNKNOWN,      /* no device has this name or key */
        IDENTIFY_AMBIGUOUS,    /* its names belong to several devices */
        IDENTIFY_PIN_MISMATCH, /* the name is known, its pinned key is another */
        IDENTIFY_WRONG_PLACE,  /* known, but not from this address */
} IdentifyOutcome;
/* A short word for a log's REASON= field. */
const char *identify_outcome_to_string(IdentifyOutcome o);

/* Who a verified certificate belongs to. `names` are CN first, then dNSName and URI entries. A pin
 * decides over a name. `from` is the peer's address; a device with configured addresses must come
 * from one of them. */
IdentifyOutcome registry_identify(const Registry *r, const char *const *names, size_t n_names,
                                  const uint8_t spki_sha256[static 32], const DeviceAddress *from,
                                  DeviceState **ret);

/* Sets posture, reason and lifetime; the port hears of it when any of them changed. Unattested and
 * contraindicated do not expire, whatever `expires` says: only a fresh verdict loosens. */
void registry_set_posture(Registry *r, DeviceState *d, Posture p, const char *reason,
                          usec_t expires, usec_t now);
void registry_set_quarantine(Registry *r, DeviceState *d, bool on, const char *reason, usec_t now);
/* With `on` the posture falls to unattested, for the same reason; without, the device is what its
 * posture says. */
void registry_set_revoked(Registry *r, DeviceState *d, bool on, const char *reason, usec_t now);
/* Lets postures expire that end at `now` or before; returns when to call again (USEC_INFINITY:
 * nothing expires). */
usec_t registry_expire(Registry *r, usec_t now);

/* What the packet filter and the topic rules go by: quarantine and revocation count as
 * contraindicated. */
Posture device_state_effective(const DeviceState *d);
