/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* The parts of a running daemon and how they hang together. */

#include "base/ratelimit.h"
#include "daemon/enforcer.h"
#include "daemon/settings.h"
#include "daemon/uplink.h"
#include "domain/registry.h"
#include "platform/bus.h"
#include "platform/identity.h"
#include "platform/loop.h"
#include "platform/minter.h"
#include "platform/reason.h"
#include "platform/store.h"

typedef struct Attest Attest;
typedef struct Reports Reports;
typedef struct Submissions Submissions;
typedef struct Trusted Trusted;
typedef struct CrlFetch CrlFetch;
typedef struct Renewal Renewal;
typedef struct IngressMqtt IngressMqtt;
typedef struct IngressCoap IngressCoap;
typedef struct StateAnchor StateAnchor;
typedef struct TpmWatch TpmWatch;

typedef struct Gateway {
        Loop *loop;
        const char *config; /* the folder */
        Settings *settings; /* in force */
        TlsKeyMode tls_key; /* what [Identity] TLSKey= came to */
        Identity *identity;
        TpmWatch *tpm_watch;
        Credential *client_credential; /* towards upstream: signs in the TPM */
        Minter *minter;                /* towards devices; NULL where the TPM key itself serves */
        Trusted *trusted;
        CrlFetch *crl_fetch;
        uint64_t revoked_generation; /* how often the file of who is revoked was written */
        Renewal *renewal;            /* of the identity's certificate */
        Registry *registry;
        Store *store;
        StateAnchor *anchor;
        Enforcer *enforcer;
        Uplink *uplink;
        uint8_t upstream_ca[32]; /* SHA-256 of the file as it was taken over */
        Attest *attest;
        Reports *reports;
        Submissions *submissions;
        IngressMqtt *mqtt;
        IngressCoap *coap;
        Bus *bus;
        LoopSource *expiry;    /* postures that run out */
        LoopSource *status;    /* the line in systemctl status */
        LoopSource *stop;      /* waits for the TPM before the loop ends */
        usec_t stop_until;     /* CLOCK_BOOTTIME, 0: not stopping */
        bool tpm_abandoned;    /* it did not answer until then */
        usec_t started;        /* CLOCK_BOOTTIME */
        RateLimit refusals;    /* log lines about peers that were refused */
        uint64_t refused;      /* peers */
        struct Reload *reload; /* one that is under way, or NULL */
} Gateway;

/* Brings up everything: the settings are taken over. Blocks on disk and TPM, which is
 * right at start alone. 0, or a negative errno that was logged with what to do about it. */
int gateway_new(Loop *loop, const char *config, Settings *settings, Gateway **ret);
/* Ends the loop as soon as nobody is in the middle of using the TPM, or after some seconds. */
void gateway_stop(Gateway *g);
Gateway *gateway_free(Gateway *g);
DEFINE_CLEANUP(Gateway, gateway_free)

/* The identity has another certificate: `c`, which upstream knows already. */
void gateway_certificate_changed(Gateway *g, Credential *c);

/* Whom to connect to by `s`; points into it. */
MqttClientConfig gateway_upstream(const Settings *s);

/* Puts the packet filter in force as `s` wants it with the postures of now. A failure changes
 * nothing. */
int gateway_load_filter(Gateway *g, const Settings *s);
