/* SPDX-License-Identifier: GPL-3.0-or-later */
#pragma once

/* What the parts of the MQTT door share: ingress-mqtt.c knows connections, ingress-mqtt-port.c
 * binds the server's state to policy, store and upstream, ingress-mqtt-rats.c answers for
 * attestation. */

#include "base/list.h"
#include "daemon/ingress-mqtt.h"
#include "domain/mqtt-server.h"
#include "platform/tls.h"

struct IngressMqtt {
        Gateway *gateway;
        Loop *loop;
        Store *store;
        TlsServer *tls_server;
        MqttServer *mqtt_server;
        TlsServerConfig tls; /* without its trust */
        List peers, woken;
        List throttled;     /* peers that wait for their device's allowance */
        LoopSource *turn;   /* for the peers in `woken` */
        LoopSource *tick;   /* deadlines of all connections and sessions */
        LoopSource *resume; /* for the peers in `throttled` */
        List rats;          /* attestation: what is appraised, and answers on their way */
        LoopSource *answer; /* for the answers in `rats` */
};

/* What the server's state asks for. Its userdata is the IngressMqtt. */
extern const MqttServerPort ingress_mqtt_port;
/* Takes up what the store has. 0, or a negative errno that was logged. */
int ingress_mqtt_restore(IngressMqtt *in);

/* Challenges and evidence; `topic` of `m` is below "rats/<device>/". See MqttServerPort.attest. */
MqttReason ingress_mqtt_rats(IngressMqtt *in, DeviceState *d, const MqttSubmission *m,
                             const char **ret_text);
/* A deferred source's handler: what became ready in this turn goes out. Its userdata is the
 * IngressMqtt. */
int ingress_mqtt_rats_answer(void *userdata);
/* Of what is on its way nobody hears any more: for `d`, or NULL for all. */
void ingress_mqtt_rats_cancel(IngressMqtt *in, const DeviceState *d);
