/* SPDX-License-Identifier: GPL-3.0-or-later */

/* What the MQTT server's state stands on: who may do what, the store, the way upstream. */

#include "base/log.h"
#include "base/str.h"
#include "daemon/admission.h"
#include "daemon/ingress-mqtt-internal.h"
#include "daemon/submit.h"
#include "platform/store.h"

/* ---- policy ---- */

static DeviceState *find_device(const IngressMqtt *in, const char *name)
{
        return registry_get(gateway_registry(in->gateway), name);
}

static PolicyOutcome decide(MqttAccess access, const char *device, const char *topic,
                            PolicyTopic *ret, void *userdata)
{
        const IngressMqtt *in = userdata;
        const Registry *r = gateway_registry(in->gateway);
        const DeviceState *d = find_device(in, device);
        if (!d)
                return POLICY_FOREIGN;
        switch (access) {
        case MQTT_ACCESS_PUBLISH:
                return policy_publish(r, d, topic, ret);
        case MQTT_ACCESS_WILL:
                return policy_will(r, d, topic, ret);
        case MQTT_ACCESS_SUBSCRIBE:
                break;
        }
        return policy_subscribe(r, d, topic, ret);
}

static bool may_be(const char *device, Bytes id, void *userdata)
{
        const DeviceState *d = find_device(userdata, device);
        return d && policy_client_id(d, id);
}

static bool may_receive(const char *device, void *userdata)
{
        const DeviceState *d = find_device(userdata, device);
        return d && policy_may_receive(d);
}

static const ClassLimits *limits(const char *device, void *userdata)
{
        const DeviceState *d = find_device(userdata, device);
        return d ? &d->device->class->limits : NULL;
}

static usec_t charge(const char *device, size_t len, usec_t now, void *userdata)
{
        IngressMqtt *in = userdata;
        DeviceState *d = find_device(in, device);
        return d ? gateway_charge(in->gateway, d, len) : 0;
}

static void overflow(const char *device, const char *client_id, void *userdata)
{
        IngressMqtt *in = userdata;
        DeviceState *d = find_device(in, device);
        if (!d || !gateway_may_log(in->gateway, d))
                return;
        log_message(LOG_WARNING,
                    LOG_FIELDS({ "DEVICE", device }, { "REASON", "queue-full" },
                               { "TRANSPORT", "mqtt" }),
                    "No more messages can wait for the client \"%s\" of %s: they are dropped "
                    "(QueueBytes= of its class)",
                    client_id, device);
}

static void will_lost(const char *device, const char *topic, const char *why, void *userdata)
{
        const IngressMqtt *in = userdata;
        DeviceState *d = find_device(in, device);
        if (!d || !gateway_may_log(in->gateway, d))
                return;
        log_message(LOG_WARNING,
                    LOG_FIELDS({ "DEVICE", device }, { "TOPIC", topic }, { "REASON", "will-lost" },
                               { "TRANSPORT", "mqtt" }),
                    "The will of %s for \"%s\" is not published: %s", device, topic, why);
}

/* ---- store ---- */

/* What is on disk is right: the next start takes that up. */
static void failed(int error, void *userdata)
{
        IngressMqtt *in = userdata;
        log_error_errno(error, "Cannot keep the state of MQTT sessions, ending");
        loop_exit(in->loop, error);
}

static void begin(void *userdata)
{
        store_group(((IngressMqtt *)userdata)->store);
}

static StoreKey store_key(const MqttKey *key)
{
        return (StoreKey){ .kind = key->kind, .a = key->a, .b = key->b };
}

static void put(const MqttKey *key, Bytes value, void *userdata)
{
        const StoreKey k = store_key(key);
        int r = store_put(((IngressMqtt *)userdata)->store, &k, value);
        if (r < 0)
                failed(r, userdata);
}

static void remove_value(const MqttKey *key, void *userdata)
{
        const StoreKey k = store_key(key);
        int r = store_remove(((IngressMqtt *)userdata)->store, &k);
        if (r < 0)
                failed(r, userdata);
}

static void on_committed(int error, uint64_t id, void *userdata)
{
        mqtt_server_settle(userdata, error < 0 ? MQTT_UNSPECIFIED_ERROR : MQTT_SUCCESS,
                           error < 0 ? "store-failed" : NULL);
}

static int commit(MqttPending *p, void *userdata)
{
        return store_barrier(((IngressMqtt *)userdata)->store, on_committed, p, NULL);
}

typedef struct Restoring {
        MqttStoredEach each;
        void *userdata;
} Restoring;

static int on_stored(const StoreKey *key, Bytes value, void *userdata)
{
        const Restoring *r = userdata;
        const MqttKey k = { .kind = key->kind, .a = key->a, .b = key->b };
        return r->each(&k, value, r->userdata);
}

static int read_stored(uint8_t kind, MqttStoredEach each, void *each_userdata, void *userdata)
{
        Restoring r = { each, each_userdata };
        return store_each(((IngressMqtt *)userdata)->store, kind, on_stored, &r);
}

int ingress_mqtt_restore(IngressMqtt *in)
{
        size_t dropped;
        MqttServerStats stats;
        int r = mqtt_server_restore(in->mqtt_server, read_stored, in, now_boottime(),
                                    now_realtime(), &dropped);
        if (r < 0)
                return log_error_errno(r, "Cannot take up the MQTT sessions in the store");
        mqtt_server_stats(in->mqtt_server, &stats);
        if (dropped > 0)
                log_notice("What belongs to no device or session any more is gone from the store: "
                           "values %zu",
                           dropped);
        if (stats.sessions > 0 || stats.retained > 0)
                log_info("MQTT sessions taken up: %zu, retained messages: %zu", stats.sessions,
                         stats.retained);
        return 0;
}

/* ---- upstream and attestation ---- */

static MqttReason reason_of(SubmitOutcome outcome)
{
        switch (outcome) {
        case SUBMIT_STORED:
                return MQTT_SUCCESS;
        case SUBMIT_DENIED:
                return MQTT_NOT_AUTHORIZED;
        case SUBMIT_QUOTA:
        case SUBMIT_FULL:
                return MQTT_QUOTA_EXCEEDED;
        case SUBMIT_FAILED:
        case _SUBMIT_MAX:
                break;
        }
        return MQTT_UNSPECIFIED_ERROR;
}

static void on_submitted(SubmitOutcome outcome, void *userdata)
{
        mqtt_server_settle(userdata, reason_of(outcome),
                           outcome == SUBMIT_STORED ? NULL : submit_outcome_to_string(outcome));
}

static MqttReason submit(MqttPending *p, const MqttSubmission *m, const char **ret_text,
                         void *userdata)
{
        IngressMqtt *in = userdata;
        _cleanup_free_ char *content_type = NULL;
        DeviceState *d = find_device(in, m->device);
        *ret_text = "out of memory";
        if (m->content_type.len > 0 && !(content_type = bytes_to_str(m->content_type)))
                return MQTT_UNSPECIFIED_ERROR;
        *ret_text = "there is no such device any more";
        if (!d)
                return MQTT_NOT_AUTHORIZED;
        const Submission s = {
                .device = d,
                .will = m->will,
                .charged = true,
                .topic = m->topic,
                .payload = m->payload,
                .content_type = content_type,
                .durable = m->qos > 0,
        };
        SubmitOutcome outcome = gateway_submit(in->gateway, &s, on_submitted, p, NULL);
        *ret_text = submit_outcome_to_string(outcome);
        return reason_of(outcome);
}

static MqttReason attest(const MqttSubmission *m, const char **ret_text, void *userdata)
{
        IngressMqtt *in = userdata;
        DeviceState *d = find_device(in, m->device);
        *ret_text = "there is no such device any more";
        return d ? ingress_mqtt_rats(in, d, m, ret_text) : MQTT_NOT_AUTHORIZED;
}

const MqttServerPort ingress_mqtt_port = {
        .decide = decide,
        .may_be = may_be,
        .may_receive = may_receive,
        .limits = limits,
        .charge = charge,
        .overflow = overflow,
        .will_lost = will_lost,
        .failed = failed,
        .begin = begin,
        .put = put,
        .remove = remove_value,
        .commit = commit,
        .submit = submit,
        .attest = attest,
};
