# SPDX-License-Identifier: GPL-3.0-or-later
"""MQTT 3.1.1 and 5.0 byte by byte. The builders hand out functions of a connection, which say the
same in the version that is spoken there; raw bytes go wherever a packet goes. decode() takes what
the server sent: it is strict, and what it takes is encoded anew and has to be the same bytes."""

import struct


class Violation(Exception):
    """The server sent what no server may send."""


TYPES = {1: "CONNECT", 2: "CONNACK", 3: "PUBLISH", 4: "PUBACK", 5: "PUBREC", 6: "PUBREL",
         7: "PUBCOMP", 8: "SUBSCRIBE", 9: "SUBACK", 10: "UNSUBSCRIBE", 11: "UNSUBACK",
         12: "PINGREQ", 13: "PINGRESP", 14: "DISCONNECT", 15: "AUTH"}

# Section 2.2.2.2: number, how it is encoded, in which packets of the server it may stand.
PROPERTIES = {
    "payload_format": (1, "byte", "PUBLISH"),
    "message_expiry": (2, "four", "PUBLISH"),
    "content_type": (3, "text", "PUBLISH"),
    "response_topic": (8, "text", "PUBLISH"),
    "correlation_data": (9, "binary", "PUBLISH"),
    "subscription_id": (11, "varint", "PUBLISH"),
    "session_expiry": (17, "four", "CONNACK"),
    "assigned_client_id": (18, "text", "CONNACK"),
    "server_keep_alive": (19, "two", "CONNACK"),
    "auth_method": (21, "text", "CONNACK AUTH"),
    "auth_data": (22, "binary", "CONNACK AUTH"),
    "request_problem": (23, "byte", ""),
    "will_delay": (24, "four", ""),
    "request_response": (25, "byte", ""),
    "response_information": (26, "text", "CONNACK"),
    "server_reference": (28, "text", "CONNACK DISCONNECT"),
    "reason_string": (31, "text", "CONNACK PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK "
                                  "DISCONNECT AUTH"),
    "receive_maximum": (33, "two", "CONNACK"),
    "topic_alias_maximum": (34, "two", "CONNACK"),
    "topic_alias": (35, "two", "PUBLISH"),
    "maximum_qos": (36, "byte", "CONNACK"),
    "retain_available": (37, "byte", "CONNACK"),
    "user_property": (38, "pair", "CONNACK PUBLISH PUBACK PUBREC PUBREL PUBCOMP SUBACK UNSUBACK "
                                  "DISCONNECT AUTH"),
    "maximum_packet_size": (39, "four", "CONNACK"),
    "wildcard_available": (40, "byte", "CONNACK"),
    "subscription_ids_available": (41, "byte", "CONNACK"),
    "shared_available": (42, "byte", "CONNACK"),
}
NAMES = {number: name for name, (number, _, _) in PROPERTIES.items()}
MANY = {"user_property", "subscription_id"}

# Table 2-6: the reason codes that the server may send in each packet of 5.0.
CODES = {
    "CONNACK": [0x00, *range(0x80, 0x8b), 0x8c, 0x90, 0x95, 0x97, 0x99, 0x9a, 0x9b, 0x9c, 0x9d,
                0x9f],
    "PUBACK": [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
    "PUBREC": [0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99],
    "PUBREL": [0x00, 0x92],
    "PUBCOMP": [0x00, 0x92],
    "SUBACK": [0x00, 0x01, 0x02, 0x80, 0x83, 0x87, 0x8f, 0x91, 0x97, 0x9e, 0xa1, 0xa2],
    "UNSUBACK": [0x00, 0x11, 0x80, 0x83, 0x87, 0x8f, 0x91],
    "DISCONNECT": [0x00, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8b, 0x8d, 0x8e, 0x8f, 0x90, 0x93,
                   0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa0,
                   0xa1, 0xa2],
}
CODES_311 = {"CONNACK": range(0, 6), "SUBACK": [0, 1, 2, 0x80]}


# --- encoding ---------------------------------------------------------------------------------------

def varint(n):
    out = bytearray()
    while True:
        out.append(n % 128 | (0x80 if n > 127 else 0))
        n //= 128
        if n == 0:
            return bytes(out)


def raw(first, body=b""):
    """A packet with this first byte and a right length."""
    return bytes([first]) + varint(len(body)) + body


def binary(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(data)) + data


def encode_property(name, value):
    number, kind, _ = PROPERTIES[name]
    encode = {"byte": lambda v: bytes([v]), "two": lambda v: struct.pack(">H", v),
              "four": lambda v: struct.pack(">I", v), "varint": varint, "text": binary,
              "binary": binary, "pair": lambda v: binary(v[0]) + binary(v[1])}[kind]
    return bytes([number]) + encode(value)


def encode_properties(given):
    """A dict, or a list of (name, value) where order or number matters, or bytes as they are."""
    if isinstance(given, bytes):
        return varint(len(given)) + given
    pairs = []
    for name, value in given.items() if isinstance(given, dict) else given:
        pairs += [(name, v) for v in value] if isinstance(value, list) else [(name, value)]
    body = b"".join(encode_property(n, v) for n, v in pairs)
    return varint(len(body)) + body


def marked(topic, c):
    """A topic's or client id's "%d" is the device, "~" this run of this case: nobody else's messages
    are there."""
    data = topic if isinstance(topic, bytes) else topic.encode()
    return data.replace(b"%d", c.device.encode()).replace(b"~", c.mark.encode())


def connect(client_id=None, clean=1, keep_alive=60, will=None, user=None, password=None,
            flags=None, name="MQTT", level=None, properties=None, more=b"", **props):
    """`will` is a dict: topic, payload, qos, retain, and its properties."""
    def build(c):
        version = c.version if level is None else level
        name_of = marked(c.client_id if client_id is None else client_id, c)
        c.agreed(props)
        if not clean or will or properties is not None or props.get("session_expiry"):
            c.outlives(name_of)
        f, payload = clean << 1, binary(name_of)
        if will is not None:
            w = dict(will)
            topic, text = marked(w.pop("topic"), c), w.pop("payload", b"gone")
            f |= 4 | w.pop("qos", 0) << 3 | w.pop("retain", 0) << 5
            if c.version == 5:
                payload += encode_properties(w.pop("properties", w))
            payload += binary(topic) + binary(text)
        if user is not None:
            f, payload = f | 0x80, payload + binary(user)
        if password is not None:
            f, payload = f | 0x40, payload + binary(password)
        head = binary(name) + struct.pack(">BBH", version, f if flags is None else flags,
                                          keep_alive)
        if c.version == 5:
            head += encode_properties(props if properties is None else properties)
        return raw(0x10, head + payload + more)
    return build


def publish(topic, payload=b"x", qos=0, id=1, retain=0, dup=0, first=None, properties=None,
            **props):
    def build(c):
        t = marked(topic, c)
        if retain and payload:
            c.retained(t)
        body = binary(t) + (struct.pack(">H", id) if qos else b"")
        if c.version == 5:
            given = props if properties is None else properties
            if isinstance(given, dict) and "response_topic" in given:
                given = {**given, "response_topic": marked(given["response_topic"], c)}
            body += encode_properties(given)
        b = 0x30 | dup << 3 | qos << 1 | retain if first is None else first
        return raw(b, body + (payload if isinstance(payload, bytes) else payload.encode()))
    return build


def subscribe(*filters, id=1, qos=None, options=None, first=0x82, **props):
    """`filters` are strings, or (string, options) where they differ."""
    def build(c):
        body = struct.pack(">H", id)
        if c.version == 5:
            body += encode_properties(props.get("properties", props))
        for f in filters:
            name, o = f if isinstance(f, tuple) else (f, options if options is not None else
                                                      qos or 0)
            body += binary(marked(name, c)) + bytes([o])
        return raw(first, body)
    return build


def unsubscribe(*filters, id=1, first=0xa2, **props):
    def build(c):
        body = struct.pack(">H", id)
        if c.version == 5:
            body += encode_properties(props.get("properties", props))
        return raw(first, body + b"".join(binary(marked(f, c)) for f in filters))
    return build


def ack(first):
    def builder(id, code=None, properties=None, **props):
        def build(c):
            body = struct.pack(">H", id)
            if c.version == 5 and (code is not None or props or properties is not None):
                body += bytes([code or 0])
                if props or properties is not None:
                    body += encode_properties(props if properties is None else properties)
            return raw(first, body)
        return build
    return builder


send_puback, send_pubrec, send_pubrel, send_pubcomp = ack(0x40), ack(0x50), ack(0x62), ack(0x70)
PING = raw(0xc0)


def disconnect(code=None, properties=None, **props):
    def build(c):
        body = b""
        if c.version == 5 and (code is not None or props or properties is not None):
            body = bytes([code or 0])
            if props or properties is not None:
                body += encode_properties(props if properties is None else properties)
        return raw(0xe0, body)
    return build


def auth(code=0x18, first=0xf0, **props):
    return raw(first, bytes([code]) + encode_properties(props))


# --- decoding ---------------------------------------------------------------------------------------

class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if self.at + n > len(self.data):
            raise Violation("a field is longer than its packet")
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, size):
        return int.from_bytes(self.take(size), "big")

    def varint(self):
        value, begin = 0, self.at
        for shift in (0, 7, 14, 21):
            b = self.number(1)
            value |= (b & 127) << shift
            if b < 128:
                if varint(value) != self.data[begin:self.at]:
                    raise Violation("[MQTT-1.5.5-1]: an integer takes more bytes than it needs")
                return value
        raise Violation("a variable byte integer of more than four bytes")

    def binary(self):
        return self.take(self.number(2))

    def text(self):
        data = self.binary()
        try:
            s = data.decode()
        except UnicodeDecodeError:
            raise Violation(f"a string is no UTF-8: {data.hex()}") from None
        if "\0" in s:
            raise Violation("U+0000 in a string")
        return s

    def rest(self):
        return self.take(len(self.data) - self.at)


def read_properties(r, kind):
    inner, found = Reader(r.take(r.varint())), {}
    while inner.at < len(inner.data):
        name = NAMES.get(inner.varint())
        if name is None or kind not in PROPERTIES[name][2].split():
            raise Violation(f"{kind} with property {name or 'unknown'}")
        read = {"byte": lambda: inner.number(1), "two": lambda: inner.number(2),
                "four": lambda: inner.number(4), "varint": inner.varint, "text": inner.text,
                "binary": inner.binary, "pair": lambda: (inner.text(), inner.text())}
        value = read[PROPERTIES[name][1]]()
        if name in MANY:
            found.setdefault(name, []).append(value)
        elif name in found:
            raise Violation(f"{kind} has {name} twice")
        else:
            found[name] = value
    return found


def split(data):
    """The first packet in `data` and what comes after; (None, data) where it is not whole."""
    for n in range(1, 5):
        if len(data) <= n:
            return None, data
        if data[n] < 128:
            size = Reader(data[1:n + 1]).varint()
            end = n + 1 + size
            return (data[:end], data[end:]) if len(data) >= end else (None, data)
    raise Violation(f"a remaining length of more than four bytes: {data[:5].hex()}")


def decode(data, version):
    kind = TYPES.get(data[0] >> 4, "type 0")
    r = Reader(data)
    flags = r.number(1) & 15
    r.varint()
    p = {"type": kind}
    if kind == "PUBLISH":
        decode_publish(p, r, flags, version)
        return p
    if kind not in ("CONNACK", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBACK", "UNSUBACK",
                    "PINGRESP", "DISCONNECT", "AUTH"):
        raise Violation(f"a server sends {kind}")
    if flags != (2 if kind == "PUBREL" else 0):
        raise Violation(f"{kind} with flags {flags:#x}")
    if version == 5:
        decode_rest_5(p, r, kind)
    else:
        decode_rest_311(p, r, kind)
    if r.at != len(data):
        raise Violation(f"{kind} is longer than its fields: {data.hex()}")
    return p


def decode_publish(p, r, flags, version):
    p.update(dup=flags >> 3, qos=flags >> 1 & 3, retain=flags & 1, topic=r.text())
    if p["qos"] == 3:
        raise Violation("PUBLISH with QoS 3")
    p["id"] = r.number(2) if p["qos"] else None
    p["properties"] = read_properties(r, "PUBLISH") if version == 5 else {}
    p["payload"] = r.rest()
    if p["id"] == 0:
        raise Violation("[MQTT-2.2.1-4]: PUBLISH with packet id 0")
    if p["qos"] == 0 and p["dup"]:
        raise Violation("[MQTT-3.3.1-2]: DUP in a PUBLISH of QoS 0")


def decode_rest_5(p, r, kind):
    p["properties"] = {}
    if kind == "CONNACK":
        p["flags"], p["code"] = r.number(1), r.number(1)
        p["properties"] = read_properties(r, kind)
    elif kind in ("SUBACK", "UNSUBACK"):
        p["id"] = r.number(2)
        p["properties"] = read_properties(r, kind)
        p["codes"] = list(r.rest())
    elif kind != "PINGRESP":
        if kind not in ("DISCONNECT", "AUTH"):
            p["id"] = r.number(2)
        p["code"] = r.number(1) if r.at < len(r.data) else 0
        if r.at < len(r.data):
            p["properties"] = read_properties(r, kind)
    check_codes(p, CODES)


def decode_rest_311(p, r, kind):
    if kind in ("DISCONNECT", "AUTH"):
        raise Violation(f"a server of 3.1.1 sends {kind}")
    if kind == "CONNACK":
        p["flags"], p["code"] = r.number(1), r.number(1)
    elif kind != "PINGRESP":
        p["id"] = r.number(2)
        if kind == "SUBACK":
            p["codes"] = list(r.rest())
    check_codes(p, CODES_311)


def check_codes(p, table):
    codes = p.get("codes", [p["code"]] if "code" in p else [])
    wrong = [c for c in codes if p["type"] in table and c not in table[p["type"]]]
    if wrong:
        raise Violation(f"{p['type']} with reason code {wrong[0]:#04x}, which it may not have")
    if p["type"] == "CONNACK" and p["flags"] & 0xfe:
        raise Violation(f"CONNACK with flags {p['flags']:#x}")
    if p["type"] == "CONNACK" and p["code"] and p["flags"]:
        raise Violation("a CONNACK that refuses says that a session is present")


def encode(p, version):
    """What was decoded, in its one right form: the order of properties is the sender's."""
    kind = p["type"]
    props = encode_properties(p["properties"]) if version == 5 and "properties" in p else b""
    first = {name: number << 4 for number, name in TYPES.items()}[kind]
    if kind == "PUBLISH":
        body = binary(p["topic"]) + (struct.pack(">H", p["id"]) if p["qos"] else b"")
        return raw(first | p["dup"] << 3 | p["qos"] << 1 | p["retain"], body + props + p["payload"])
    if kind == "CONNACK":
        return raw(first, bytes([p["flags"], p["code"]]) + props)
    if kind == "PINGRESP":
        return raw(first)
    body = struct.pack(">H", p["id"]) if "id" in p else b""
    if kind in ("SUBACK", "UNSUBACK"):
        return raw(first, body + props + bytes(p.get("codes", [])))
    return raw(first | (2 if kind == "PUBREL" else 0), body + bytes([p.get("code", 0)]) + props)


def canonical(data, p, version):
    """Whether the bytes are the one encoding of the packet. An acknowledgement and a DISCONNECT may
    leave out a reason code of 0 and an empty list of properties; properties that may come several
    times may stand among the others."""
    if p["type"] in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "DISCONNECT"):
        head = struct.pack(">H", p["id"]) if "id" in p else b""
        first = data[:1]
        short = [first + varint(len(b)) + b for b in (head, head + bytes([p.get("code", 0)]))]
        if data in short and not p.get("properties") and (data == short[1] or not p.get("code")):
            return True
    return len(encode(p, version)) == len(data) and \
        (encode(p, version) == data or any(n in MANY for n in p.get("properties", {})))
