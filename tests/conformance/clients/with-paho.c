/* SPDX-License-Identifier: GPL-3.0-or-later */

/* with-paho VERSION URI CERTIFICATE KEY CA CLIENT TOPIC: what clients.py tells of, with Eclipse
 * Paho C. */

#include <MQTTClient.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int version;
static const char *uri, *certificate, *key, *ca, *id, *base;

static void need(bool condition, const char *what, int rc)
{
        if (condition)
                return;
        printf("failed: %s: %d\n", what, rc);
        exit(1);
}

static bool ok(int rc)
{
        return rc >= 0 && rc < 0x80;
}

static MQTTClient create(const char *suffix)
{
        MQTTClient c;
        char name[128];
        MQTTClient_createOptions o = MQTTClient_createOptions_initializer;
        o.MQTTVersion = version == 5 ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
        snprintf(name, sizeof(name), "%s/%s", id, suffix);
        int rc = MQTTClient_createWithOptions(&c, uri, name, MQTTCLIENT_PERSISTENCE_NONE, NULL, &o);
        need(rc == MQTTCLIENT_SUCCESS, "create", rc);
        return c;
}

/* Whether there was a session. */
static int enter(MQTTClient c, bool clean)
{
        MQTTClient_SSLOptions ssl = MQTTClient_SSLOptions_initializer;
        ssl.trustStore = ca;
        ssl.keyStore = certificate;
        ssl.privateKey = key;
        MQTTClient_connectOptions o4 = MQTTClient_connectOptions_initializer;
        MQTTClient_connectOptions o5 = MQTTClient_connectOptions_initializer5;
        MQTTClient_connectOptions *o = version == 5 ? &o5 : &o4;
        o->ssl = &ssl;
        o->connectTimeout = 8;
        o->MQTTVersion = version == 5 ? MQTTVERSION_5 : MQTTVERSION_3_1_1;
        if (version != 5) {
                o->cleansession = clean;
                int rc = MQTTClient_connect(c, o);
                need(rc == 0, "connect", rc);
                return o->returned.sessionPresent;
        }
        o->cleanstart = clean;
        MQTTProperties p = MQTTProperties_initializer;
        MQTTProperty expiry = { .identifier = MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL,
                                .value.integer4 = clean ? 0 : 60 };
        MQTTProperties_add(&p, &expiry);
        MQTTResponse r = MQTTClient_connect5(c, o, &p, NULL);
        need(r.reasonCode == MQTTREASONCODE_SUCCESS, "connect", r.reasonCode);
        MQTTResponse_free(r);
        MQTTProperties_free(&p);
        return 1; /* 1.3.12 does not tell it in 5.0; the message that waited does */
}

static void leave(MQTTClient c)
{
        int rc = version == 5 ? MQTTClient_disconnect5(c, 2000, MQTTREASONCODE_SUCCESS, NULL)
                              : MQTTClient_disconnect(c, 2000);
        need(ok(rc), "disconnect", rc);
        MQTTClient_destroy(&c);
}

static void subscribe(MQTTClient c, const char *suffix, int qos)
{
        char topic[256];
        snprintf(topic, sizeof(topic), "%s/%s", base, suffix);
        if (version == 5) {
                MQTTResponse r = MQTTClient_subscribe5(c, topic, qos, NULL, NULL);
                need((int)r.reasonCode == qos, "subscribe", r.reasonCode);
                MQTTResponse_free(r);
        } else {
                int rc = MQTTClient_subscribe(c, topic, qos);
                need(rc == MQTTCLIENT_SUCCESS, "subscribe", rc);
        }
}

static void publish(MQTTClient c, const char *suffix, const char *text, int qos, int retained)
{
        char topic[256];
        MQTTClient_deliveryToken token = 0;
        int rc, len = (int)strlen(text);
        snprintf(topic, sizeof(topic), "%s/%s", base, suffix);
        if (version == 5) {
                MQTTResponse r =
                        MQTTClient_publish5(c, topic, len, text, qos, retained, NULL, &token);
                rc = r.reasonCode;
                MQTTResponse_free(r);
        } else {
                rc = MQTTClient_publish(c, topic, len, text, qos, retained, &token);
        }
        need(ok(rc), "publish", rc);
        if (qos > 0) {
                rc = MQTTClient_waitForCompletion(c, token, 5000);
                need(rc == MQTTCLIENT_SUCCESS, "completion", rc);
        }
}

static void take(MQTTClient c, int count)
{
        for (int i = 0; i < count; i++) {
                char *topic = NULL;
                int len;
                MQTTClient_message *m = NULL;
                int rc = MQTTClient_receive(c, &topic, &len, &m, 5000);
                need(ok(rc) && m, "receive", rc);
                printf("%s %d %d %.*s\n", topic + strlen(base) + 1, m->qos, m->retained,
                       m->payloadlen, (char *)m->payload);
                MQTTClient_freeMessage(&m);
                MQTTClient_free(topic);
        }
}

int main(int argc, char **argv)
{
        need(argc == 8, "arguments", argc);
        version = atoi(argv[1]);
        uri = argv[2];
        certificate = argv[3];
        key = argv[4];
        ca = argv[5];
        id = argv[6];
        base = argv[7];
        MQTTClient_init_options init = MQTTClient_init_options_initializer;
        init.do_openssl_init = 1;
        MQTTClient_global_init(&init);

        MQTTClient c = create("one");
        enter(c, true);
        subscribe(c, "a", 2);
        for (int qos = 0; qos <= 2; qos++) {
                publish(c, "a", "m", qos, 0);
                take(c, 1);
        }
        publish(c, "r", "kept", 1, 1);
        subscribe(c, "r", 1);
        take(c, 1);
        publish(c, "r", "", 1, 1);
        take(c, 1);

        MQTTClient p = create("two");
        enter(p, false);
        subscribe(p, "p", 2);
        leave(p);
        publish(c, "p", "later", 2, 0);
        p = create("two");
        printf("present %d\n", enter(p, false));
        take(p, 1);
        leave(p);
        leave(c);
        return 0;
}
