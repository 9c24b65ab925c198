/* SPDX-License-Identifier: GPL-3.0-or-later */

/* Attestation over MQTT. A device publishes a question to rats/<device>/challenge or
 * rats/<device>/evidence; the answer is a message to its Response Topic, or to
 * rats/<device>/nonce and rats/<device>/result where it names none. */

#include <stdio.h>

#include "base/log.h"
#include "base/str.h"
#include "daemon/admission.h"
#include "daemon/mqtt-exchange.h"
#include "daemon/rats.h"
#include "platform/coapserver.h"
#include "proto/cmw.h"
#include "proto/topic.h"
#include "sallyport/attestation.h"

/* ---- challenge ---- */

/* By its type; without one by its first byte, as a map in CBOR never begins like one in JSON. */
static bool find_form(const MqttSubmission *m, FreshnessForm *ret)
{
        static const struct {
                const char *media_type;
                FreshnessForm form;
        } forms[] = {
                { SALLYPORT_MEDIA_NONCE, FRESHNESS_CBOR },
                { "application/cbor", FRESHNESS_CBOR },
                { SALLYPORT_MEDIA_NONCE_JSON, FRESHNESS_JSON },
                { "application/json", FRESHNESS_JSON },
        };
        bool brace = m->payload.len > 0 && m->payload.data[0] == '{';
        if (m->content_type.len == 0) {
                *ret = brace ? FRESHNESS_JSON : FRESHNESS_CBOR;
                return true;
        }
        for (size_t i = 0; i < ELEMENTSOF(forms); i++)
                if (bytes_equal(m->content_type, bytes_from_str(forms[i].media_type))) {
                        *ret = forms[i].form;
                        return true;
                }
        return false;
}

static int make_nonce(MqttExchange *e, FreshnessForm form, Bytes nonce, uint32_t lifetime)
{
        const char *type =
                form == FRESHNESS_JSON ? SALLYPORT_MEDIA_NONCE_JSON : SALLYPORT_MEDIA_NONCE;
        _cleanup_buf_ Buf buf = BUF_INIT(FRESHNESS_RESPONSE_MAX);
        int r = freshness_response_write(form, nonce, lifetime, &buf);
        return r < 0 ? r : mqtt_exchange_make(e, buf_view(&buf), type, lifetime);
}

static MqttReason challenge(MqttExchange *e, const MqttSubmission *m, const char **ret_text)
{
        static const Problem other = { .code = COAPSERVER_CODE(4, 15),
                                       .title = "The request is CBOR or JSON." };
        uint8_t nonce[NONCE_MAX];
        uint32_t lifetime;
        size_t len = NONCE_DEFAULT;
        FreshnessForm form;
        Problem p;
        if (!find_form(m, &form))
                return mqtt_exchange_refuse(e, &other, ret_text);
        if (m->payload.len > 0 && !rats_request_read(form, m->payload, &len, &p))
                return mqtt_exchange_refuse(e, &p, ret_text);
        int r = gateway_challenge(e->in->gateway, e->device, len, nonce, &lifetime);
        if (r < 0) {
                p = rats_no_nonce(r);
                return mqtt_exchange_refuse(e, &p, ret_text);
        }
        return mqtt_exchange_answer(e, make_nonce(e, form, BYTES(nonce, len), lifetime), ret_text);
}

/* ---- evidence ---- */

static void on_appraised(const EvidenceResult *result, void *userdata)
{
        MqttExchange *e = userdata;
        Problem p;
        e->evidence = NULL;
        int r = rats_no_result(result, &p)
                        ? mqtt_exchange_make_problem(e, &p)
                        : mqtt_exchange_make(e, result->ear, SALLYPORT_MEDIA_EAR_JWT, 0);
        if (r >= 0) {
                mqtt_exchange_publish(e);
                return;
        }
        log_warning_errno(r, "Cannot answer %s, ignoring", e->device->device->name);
        mqtt_exchange_free(e);
}

/* 3.1.1 cannot say what it carries, so there it is what says that itself: a CMW. */
static MqttReason evidence(MqttExchange *e, const MqttSubmission *m, const char **ret_text)
{
        static const Problem too_long = { .code = COAPSERVER_CODE(4, 13),
                                          .title = "Evidence has at most 16 KiB." };
        static const Problem busy = { .code = COAPSERVER_CODE(5, 3),
                                      .title = "The gateway cannot appraise now." };
        uint16_t format = m->content_type.len > 0 ? cmw_content_format(m->content_type)
                                                  : SALLYPORT_CF_CMW_CBOR;
        if (m->payload.len > EVIDENCE_MAX)
                return mqtt_exchange_refuse(e, &too_long, ret_text);
        if (gateway_evidence(e->in->gateway, e->device, format, m->payload, on_appraised, e,
                             &e->evidence) < 0)
                return mqtt_exchange_refuse(e, &busy, ret_text);
        list_append(&e->in->rats, &e->node);
        return MQTT_SUCCESS;
}

/* ---- the door ---- */

typedef MqttReason (*Question)(MqttExchange *e, const MqttSubmission *m, const char **ret_text);

static const struct {
        const char *topic, *answers; /* below "rats/<device>/" */
        Question ask;
} questions[] = {
        { "challenge", "nonce", challenge },
        { "evidence", "result", evidence },
};

static bool is_question(Bytes topic)
{
        for (size_t i = 0; i < ELEMENTSOF(questions); i++)
                if (bytes_equal(topic, bytes_from_str(questions[i].topic)))
                        return true;
        return false;
}

/* The usual one, or one that the device names: of its own answers, and no question again. */
static bool find_topic(const DeviceState *d, const MqttSubmission *m, const char *answers,
                       char buf[static POLICY_TOPIC_MAX], Bytes *ret)
{
        Bytes rest, name = bytes_from_str(d->device->name);
        if (m->response_topic.len == 0) {
                int n = snprintf(buf, POLICY_TOPIC_MAX, "rats/%s/%s", d->device->name, answers);
                *ret = BYTES(buf, (size_t)n);
                return true;
        }
        *ret = m->response_topic;
        return topic_within_bounds(*ret) && topic_strip_level(*ret, BYTES_LITERAL("rats"), &rest) &&
               topic_strip_level(rest, name, &rest) && rest.len > 0 && !is_question(rest);
}

/* With QoS 0 nobody hears of it but who reads the log. */
static MqttReason deny(IngressMqtt *in, DeviceState *d, MqttReason reason, PolicyOutcome outcome,
                       const char *text, const char **ret_text)
{
        const char *name = d->device->name;
        if (gateway_may_log(in->gateway, d))
                log_message(LOG_WARNING,
                            LOG_FIELDS({ "DEVICE", name },
                                       { "REASON", policy_outcome_to_string(outcome) },
                                       { "TRANSPORT", "mqtt" }),
                            "Attestation of %s: %s", name, text);
        *ret_text = text;
        return reason;
}

MqttReason ingress_mqtt_rats(IngressMqtt *in, DeviceState *d, const MqttSubmission *m,
                             const char **ret_text)
{
        char buf[POLICY_TOPIC_MAX];
        Bytes topic;
        for (size_t i = 0; i < ELEMENTSOF(questions); i++) {
                if (!streq(m->topic, questions[i].topic))
                        continue;
                if (!find_topic(d, m, questions[i].answers, buf, &topic))
                        return deny(in, d, MQTT_NOT_AUTHORIZED, POLICY_RESERVED,
                                    "the response topic is not one of its own below rats/",
                                    ret_text);
                MqttExchange *e = mqtt_exchange_new(in, d, m, topic);
                *ret_text = "out of memory";
                return e ? questions[i].ask(e, m, ret_text) : MQTT_UNSPECIFIED_ERROR;
        }
        return deny(in, d, MQTT_TOPIC_NAME_INVALID, POLICY_BAD_TOPIC,
                    "it publishes to challenge and evidence, and to nothing else there", ret_text);
}

int ingress_mqtt_rats_answer(void *userdata)
{
        IngressMqtt *in = userdata;
        LIST_FOREACH_SAFE (i, &in->rats) {
                MqttExchange *e = LIST_ENTRY(i, MqttExchange, node);
                if (e->answer)
                        mqtt_exchange_publish(e);
        }
        return 0;
}

void ingress_mqtt_rats_cancel(IngressMqtt *in, const DeviceState *d)
{
        LIST_FOREACH_SAFE (i, &in->rats) {
                MqttExchange *e = LIST_ENTRY(i, MqttExchange, node);
                if (!d || e->device == d)
                        mqtt_exchange_free(e);
        }
}
