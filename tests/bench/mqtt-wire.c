/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "mqtt-wire.h"

#include <err.h>

#include "base/reader.h"

static void need(int r)
{
        if (r < 0)
                errx(2, "no room for a packet");
}

static void put_header(Buf *b, uint8_t first, size_t len)
{
        need(buf_append_u8(b, first));
        do {
                need(buf_append_u8(b, (uint8_t)(len % 128 | (len > 127 ? 0x80 : 0))));
                len /= 128;
        } while (len > 0);
}

static void put_string(Buf *b, const char *s)
{
        need(buf_append_u16(b, (uint16_t)strlen(s)));
        need(buf_append_str(b, s));
}

/* Properties: none. With MQTT 5 the client takes as many messages at once as there are ids. */
void wire_connect(Buf *b, unsigned version, const char *id, uint16_t keep_alive)
{
        put_header(b, WIRE_CONNECT << 4, 12 + strlen(id) + (version == 5));
        put_string(b, "MQTT");
        need(buf_append_u8(b, (uint8_t)version));
        need(buf_append_u8(b, 2)); /* clean start */
        need(buf_append_u16(b, keep_alive));
        if (version == 5)
                need(buf_append_u8(b, 0));
        put_string(b, id);
}

void wire_subscribe(Buf *b, unsigned version, uint16_t id, const char *filter, uint8_t qos)
{
        put_header(b, WIRE_SUBSCRIBE << 4 | 2, 5 + strlen(filter) + (version == 5));
        need(buf_append_u16(b, id));
        if (version == 5)
                need(buf_append_u8(b, 0));
        put_string(b, filter);
        need(buf_append_u8(b, qos));
}

uint8_t *wire_publish(Buf *b, unsigned version, const char *topic, uint8_t qos, uint16_t id,
                      size_t size)
{
        uint8_t *payload;
        put_header(b, (uint8_t)(WIRE_PUBLISH << 4 | qos << 1),
                   2 + strlen(topic) + (qos > 0 ? 2 : 0) + (version == 5) + size);
        put_string(b, topic);
        if (qos > 0)
                need(buf_append_u16(b, id));
        if (version == 5)
                need(buf_append_u8(b, 0));
        need(buf_reserve(b, size, &payload));
        buf_commit(b, size);
        return payload;
}

void wire_answer(Buf *b, WireType type, uint16_t id)
{
        put_header(b, (uint8_t)(type << 4 | (type == WIRE_PUBREL ? 2 : 0)), 2);
        need(buf_append_u16(b, id));
}

void wire_disconnect(Buf *b)
{
        put_header(b, WIRE_DISCONNECT << 4, 0);
}

/* The length of the header, 0 where it is not whole, -1. */
static ssize_t read_header(Bytes in, size_t *ret_len)
{
        size_t len = 0;
        for (size_t i = 1; i < in.len; i++) {
                len |= (size_t)(in.data[i] & 0x7f) << 7 * (i - 1);
                if (!(in.data[i] & 0x80)) {
                        *ret_len = len;
                        return (ssize_t)i + 1;
                }
                if (i == 4)
                        return -1;
        }
        return 0;
}

static void skip_properties(Reader *r)
{
        size_t len = 0;
        for (unsigned i = 0; i < 4; i++) {
                uint8_t byte = reader_u8(r);
                len |= (size_t)(byte & 0x7f) << 7 * i;
                if (!(byte & 0x80))
                        break;
        }
        reader_skip(r, len);
}

static void read_publish(Reader *r, unsigned version, uint8_t flags, WirePacket *p)
{
        p->qos = flags >> 1 & 3;
        reader_skip(r, reader_u16(r));
        if (p->qos > 0)
                p->id = reader_u16(r);
        if (version == 5)
                skip_properties(r);
        p->payload = reader_rest(r);
}

static void read_body(Reader *r, unsigned version, uint8_t flags, WirePacket *p)
{
        switch (p->type) {
        case WIRE_PUBLISH:
                read_publish(r, version, flags, p);
                break;
        case WIRE_CONNACK:
                reader_u8(r);
                p->reason = reader_u8(r);
                break;
        case WIRE_PUBACK:
        case WIRE_PUBREC:
        case WIRE_PUBREL:
        case WIRE_PUBCOMP:
                p->id = reader_u16(r);
                if (reader_left(r) > 0)
                        p->reason = reader_u8(r);
                break;
        case WIRE_SUBACK:
                p->id = reader_u16(r);
                if (version == 5)
                        skip_properties(r);
                p->reason = reader_u8(r);
                break;
        case WIRE_DISCONNECT:
                if (reader_left(r) > 0)
                        p->reason = reader_u8(r);
                break;
        case WIRE_CONNECT:
        case WIRE_SUBSCRIBE:
                reader_fail(r);
                break;
        }
}

ssize_t wire_read(Bytes in, unsigned version, WirePacket *ret)
{
        size_t len;
        ssize_t header = read_header(in, &len);
        if (header <= 0)
                return header;
        if (in.len - (size_t)header < len)
                return 0;
        WirePacket p = { .type = (WireType)(in.data[0] >> 4) };
        Reader r = reader_new(BYTES(in.data + header, len));
        read_body(&r, version, in.data[0] & 15, &p);
        if (!reader_ok(&r))
                return -1;
        *ret = p;
        return header + (ssize_t)len;
}
