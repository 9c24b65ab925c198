/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Packets from a client. The first byte chooses the version, packets follow. What was parsed lies
 * inside the input; a PUBLISH that was taken can be written, and reads the same again. */
#include "proto/mqtt.h"
#include "proto/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool ok)
{
        if (!ok)
                abort();
}

static void require_inside(const MqttFrame *f, Bytes b)
{
        if (b.len == 0)
                return;
        require(b.data >= f->body.data && b.data + b.len <= f->body.data + f->body.len);
}

static void check_user_properties(const MqttFrame *f, const MqttProperties *p)
{
        Reader r = reader_new(p->block);
        Bytes name, value;
        require_inside(f, p->block);
        while (mqtt_user_property_next(&r, &name, &value)) {
                require_inside(f, name);
                require_inside(f, value);
                require(mqtt_string_valid(name) && mqtt_string_valid(value));
        }
        require(reader_ok(&r));
}

static void write_again(MqttVersion v, const MqttPublish *p)
{
        _cleanup_buf_ Buf properties = BUF_INIT(1 << 20), out = BUF_INIT(1 << 20);
        MqttPeer peer = { .version = v };
        require(mqtt_properties_append(&properties, &p->properties, UINT64_MAX) == 0);
        MqttOutgoing m = {
                .dup = p->dup,
                .retain = p->retain,
                .qos = p->qos,
                .packet_id = p->packet_id,
                .topic = p->topic,
                .payload = p->payload,
                .properties = buf_view(&properties),
        };
        MqttFrame f;
        MqttPublish again;
        require(mqtt_write_publish(&out, &peer, &m) == 0);
        require(mqtt_frame(buf_view(&out), SIZE_MAX, &f) == MQTT_FRAMING_PACKET);
        require(f.size == buf_len(&out));
        require(mqtt_parse_publish(&f, v, &again) == MQTT_SUCCESS);
        require(bytes_equal(again.topic, p->topic) && bytes_equal(again.payload, p->payload));
        require(again.properties.present == p->properties.present);
        require(bytes_equal(again.properties.content_type, p->properties.content_type));
}

static void check_publish(const MqttFrame *f, MqttVersion v)
{
        MqttPublish p;
        if (mqtt_parse_publish(f, v, &p) != MQTT_SUCCESS)
                return;
        require(p.topic.len == 0 || topic_name_valid(p.topic));
        require((p.qos == 0) == (p.packet_id == 0));
        require_inside(f, p.topic);
        require_inside(f, p.payload);
        check_user_properties(f, &p.properties);
        write_again(v, &p);
}

static void check_connect(const MqttFrame *f)
{
        MqttConnect c = { 0 };
        if (mqtt_parse_connect(f, &c) != MQTT_SUCCESS)
                return;
        require(c.version == MQTT_3_1_1 || c.version == MQTT_5);
        require_inside(f, c.client_id);
        require_inside(f, c.will_payload);
        require(!c.has_will || topic_name_valid(c.will_topic));
        check_user_properties(f, &c.properties);
        check_user_properties(f, &c.will_properties);
}

static void check_filters(const MqttFrame *f, MqttVersion v)
{
        MqttSubscribe s;
        MqttSubscription entry;
        Bytes filter;
        size_t n = 0;
        if (f->type == MQTT_SUBSCRIBE && mqtt_parse_subscribe(f, v, &s) == MQTT_SUCCESS) {
                for (Reader r = s.entries; mqtt_subscribe_next(&r, &entry); n++)
                        require(topic_filter_valid(entry.filter) && entry.qos < 3);
                require(n == s.n_entries);
        }
        if (f->type == MQTT_UNSUBSCRIBE && mqtt_parse_unsubscribe(f, v, &s) == MQTT_SUCCESS) {
                for (Reader r = s.entries; mqtt_unsubscribe_next(&r, &filter); n++)
                        require(topic_filter_valid(filter));
                require(n == s.n_entries);
        }
}

static void check_packet(const MqttFrame *f, MqttVersion v)
{
        MqttAck ack;
        MqttDisconnect disconnect;
        if (f->type == MQTT_CONNECT)
                check_connect(f);
        else if (f->type == MQTT_PUBLISH)
                check_publish(f, v);
        else if (f->type >= MQTT_PUBACK && f->type <= MQTT_PUBCOMP)
                require(mqtt_parse_ack(f, v, &ack) != MQTT_SUCCESS || ack.packet_id > 0);
        else if (f->type == MQTT_SUBSCRIBE || f->type == MQTT_UNSUBSCRIBE)
                check_filters(f, v);
        else if (f->type == MQTT_PINGREQ)
                require(mqtt_parse_pingreq(f, v) != MQTT_SUCCESS || f->size >= 2);
        else if (f->type == MQTT_DISCONNECT)
                mqtt_parse_disconnect(f, v, &disconnect);
        else if (f->type == MQTT_AUTH)
                require(mqtt_parse_auth(f, v, &disconnect) != MQTT_SUCCESS || v == MQTT_5);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        if (size == 0)
                return 0;
        MqttVersion v = data[0] & 1 ? MQTT_5 : MQTT_3_1_1;
        Bytes in = BYTES(data + 1, size - 1);
        MqttFrame f, shorter;
        while (mqtt_frame(in, 65536, &f) == MQTT_FRAMING_PACKET) {
                require(f.size <= in.len && f.size >= 2);
                require(mqtt_frame(BYTES(in.data, f.size - 1), 65536, &shorter) ==
                        MQTT_FRAMING_NEED_MORE);
                require(mqtt_frame(in, f.size - 1, &shorter) == MQTT_FRAMING_TOO_LARGE);
                check_packet(&f, v);
                in = BYTES(in.data + f.size, in.len - f.size);
        }
        return 0;
}
