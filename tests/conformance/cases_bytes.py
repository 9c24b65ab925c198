# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes that are no MQTT: strings, integers, flags, properties, lengths; each ends its connection."""

from exchange import A, B, Failure, Step, Table, pub
from flaws import ILL_FORMED_TEXT, LENGTH_OVERFLOWS
from wire import (PROPERTIES, auth, binary, connect, disconnect, encode_property, publish, raw,
                  send_puback, send_pubrec, send_pubrel, subscribe, unsubscribe, varint)

T = Table()
CASES = T.cases
BAD = (0x81, 0x82)

# --- strings ------------------------------------------------------------------------------------------

ILL = [("a surrogate, U+D800", b"\xed\xa0\x80"), ("a surrogate, U+DFFF", b"\xed\xbf\xbf"),
       ("a pair of surrogates", b"\xed\xa0\xbd\xed\xb8\x80"), ("an overlong /", b"\xc0\xaf"),
       ("an overlong / of three bytes", b"\xe0\x80\xaf"),
       ("an overlong / of four bytes", b"\xf0\x80\x80\xaf"), ("a code point above U+10FFFF",
                                                              b"\xf4\x90\x80\x80"),
       ("a sequence of five bytes", b"\xf8\x88\x80\x80\x80"), ("a lone continuation byte", b"\x80"),
       ("a sequence that ends early", b"\xe2\x82"), ("byte 0xff", b"\xff"), ("byte 0xfe", b"\xfe")]
for what, bytes_ in ILL:
    T.both("1.5.4-1 3.3.2-1 4.13.1-1", "1.5.3-1 3.3.2-1 4.8.0-1", f"{what} in a topic",
           A.connects(), A.sends(publish(b"~/a" + bytes_, qos=1)), A.ends((*BAD, 0x90)),
           pattern=ILL_FORMED_TEXT)
for what, bytes_ in (("U+0000", b"\0"), ("an overlong U+0000", b"\xc0\x80")):
    T.both("1.5.4-2 4.7.3-2", "1.5.3-2 4.7.3-2", f"{what} in a topic",
           A.connects(), A.sends(publish(b"~/a" + bytes_ + b"b", qos=1)), A.ends((*BAD, 0x90)))
    T.both("1.5.4-2", "1.5.3-2", f"{what} in a client id",
           A.opens(), A.sends(connect(b"%d" + bytes_)), A.rejected(0x81, 0x82, 0x85))
    T.both("1.5.4-2 3.1.3-11", "1.5.3-2 3.1.3-10", f"{what} in a will topic",
           A.opens(), A.sends(connect(will={"topic": b"~/w" + bytes_})), A.rejected(0x81, 0x82, 0x90))
    T.both("1.5.4-2", "1.5.3-2", f"{what} in a user name",
           A.opens(), A.sends(connect(user=b"u" + bytes_)), A.rejected())
for what, good in (("two bytes", "ß"), ("three bytes", "€"), ("four bytes", "😀"),
                   ("the last before the surrogates", "\ud7ff"), ("the first after them", "\ue000"),
                   ("the last character of Unicode that is one", "\U0010fffd")):
    T.both("1.5.4-1", "1.5.3-1", f"a character of {what} in topic and filter",
           B.connects(), B.subscribes(f"~/{good}"), A.connects(), A.publishes(f"~/{good}"),
           B.hears(pub(f"~/{good}")))


def not_taken(run):
    """Both standards let a receiver close the connection for these characters; this server does
    either that or refuses the message."""
    c = run.connections["A"]
    p = c.packet(4)
    if p and not (p["type"] == "PUBACK" and p.get("code", 0) >= 0x80 or p["type"] == "DISCONNECT"):
        raise Failure(f"it is taken: {p}")
    if not p or p["type"] == "DISCONNECT":
        A.closed().do(run)


for what, control in (("U+0001", "\x01"), ("U+001F", "\x1f"), ("U+007F", "\x7f"), ("U+009F", "\x9f"),
                      ("U+FFFE, no character", "\ufffe"), ("U+FDD0, no character", "\ufdd0"),
                      ("U+10FFFF, no character", "\U0010ffff")):
    T.both("1.5.4-1", "1.5.3-1", f"{what} in a topic is not taken here",
           A.connects(), A.sends(publish(f"~/{control}", qos=1)), Step("it is not taken", not_taken))
SURROGATE = b"\xed\xa0\x80"
for name in ("content_type", "response_topic"):
    T.v5("1.5.4-1 3.3.2-13 3.3.2-19", f"a surrogate in {name}",
         A.connects(), A.sends(publish("~/a", properties={name: SURROGATE})), A.ends((*BAD, 0x90)))
for pair in ((SURROGATE, b"v"), (b"k", SURROGATE), (b"k\0", b"v"), (b"k", b"v\0")):
    T.v5("1.5.7-1 1.5.4-1 1.5.4-2", f"the pair {pair[0]} {pair[1]} in PUBLISH",
         A.connects(), A.sends(publish("~/a", properties={"user_property": pair})), A.ends(BAD))
T.v5("1.5.7-1", "a pair that is no UTF-8 in CONNECT",
     A.opens(), A.sends(connect(user_property=(b"k", SURROGATE))), A.rejected())
T.v5("1.5.7-1", "a pair that is no UTF-8 in a will",
     A.opens(), A.sends(connect(will={"topic": "~/w", "properties": {"user_property":
                                                                     (SURROGATE, b"v")}})), A.rejected())
T.v5("1.5.7-1", "a pair that is no UTF-8 in SUBSCRIBE",
     A.connects(), A.sends(subscribe("~/a", user_property=(b"k", SURROGATE))), A.ends(BAD))
T.v5("1.5.7-1", "a pair that is no UTF-8 in UNSUBSCRIBE",
     A.connects(), A.sends(unsubscribe("~/a", user_property=(b"k", SURROGATE))), A.ends(BAD))
T.v5("1.5.4-1", "a reason string that is no UTF-8 in PUBACK",
     A.connects(), A.sends(send_puback(1, reason_string=SURROGATE)), A.ends(BAD))
T.v5("1.5.4-1", "a reason string that is no UTF-8 in DISCONNECT",
     A.connects(), A.sends(disconnect(reason_string=SURROGATE)), A.ends(BAD))

# --- integers -----------------------------------------------------------------------------------------

for what, data in (("PINGREQ", "c08000"), ("PUBLISH", "30868000000161000078"),
                   ("DISCONNECT", "e0808000")):
    T.v5("1.5.5-1", f"a length of more bytes than it needs: {what}",
         A.connects(), A.sends(data), A.ends(0x81))
T.v5("1.5.5-1", "a length of properties of more bytes than it needs",
     A.connects(), A.sends(raw(0x30, binary("a") + b"\x80\0" + b"x")), A.ends(0x81))
T.v5("1.5.5-1", "a subscription identifier of more bytes than it needs",
     A.connects(), A.sends(raw(0x82, b"\0\1" + b"\3\x0b\x81\0" + binary("a") + b"\0")), A.ends(0x81))
T.both("1.5.5-1 4.13.1-1", "4.8.0-1", "a length of five bytes",
       A.connects(), A.sends("c08080808001"), A.ends(0x81), pattern=LENGTH_OVERFLOWS)
T.both("1.5.5-1 3.1.4-1", "4.8.0-1 3.1.4-1", "a length of five bytes in CONNECT",
       A.opens(), A.sends("10ffffffff01"), A.closed(), pattern=LENGTH_OVERFLOWS)
T.v5("1.5.5-1", "a length of properties of five bytes",
     A.connects(), A.sends(raw(0x30, binary("a") + b"\x80\x80\x80\x80\x01" + b"x")), A.ends(0x81))
T.v5("1.5.5-1", "a subscription identifier of five bytes",
     A.connects(), A.sends(raw(0x82, b"\0\1" + b"\6\x0b\xff\xff\xff\xff\1" + binary("a") + b"\0")),
     A.ends(0x81))

# --- flags and types ----------------------------------------------------------------------------------

ACK = b"\0\1"
for name, first, body in (("CONNECT", 0x10, None), ("PUBACK", 0x40, ACK), ("PUBREC", 0x50, ACK),
                          ("PUBREL", 0x62, ACK), ("PUBCOMP", 0x70, ACK), ("PINGREQ", 0xc0, b""),
                          ("DISCONNECT", 0xe0, b"")):
    for flag in (1, 2, 4, 8):
        wrong = first ^ flag
        s5, s3 = "2.1.3-1 4.13.1-1", "2.2.2-1 2.2.2-2 4.8.0-1"
        s5 += {"PUBREL": " 3.6.1-1", "DISCONNECT": " 3.14.1-1"}.get(name, "")
        s3 += {"PUBREL": " 3.6.1-1", "DISCONNECT": " 3.14.1-1"}.get(name, "")
        if name == "CONNECT":
            T.both(s5, s3, f"{name} with first byte {wrong:#x}", A.opens(),
                   A.sends(lambda c, w=wrong: bytes([w]) + connect()(c)[1:]), A.rejected())
        else:
            T.both(s5, s3, f"{name} with first byte {wrong:#x}",
                   A.connects(), A.sends(raw(wrong, body)), A.ends(0x81))
for first in (0xf1, 0xf2, 0xf8):
    T.v5("3.15.1-1 2.1.3-1", f"AUTH with first byte {first:#x}",
         A.connects(), A.sends(auth(first=first)), A.ends(BAD))
T.v311("4.8.0-1 2.2.2-2", "AUTH does not exist", A.connects(), A.sends(auth()), A.closed())
T.both("4.13.1-1", "4.8.0-1", "packet type 0", A.connects(), A.sends("0000"), A.ends(BAD))
for name, data in (("CONNACK", "2002000000"), ("SUBACK", "900400010000"), ("UNSUBACK", "b00400010000"),
                   ("PINGRESP", "d000")):
    T.both("4.13.1-1", "4.8.0-1", f"{name} from a client",
           A.connects(), A.sends(data), A.ends(BAD))

# --- lengths ------------------------------------------------------------------------------------------

for name, data in (("PINGREQ with a body", "c00100"), ("PUBACK of one byte", "400100"),
                   ("PUBACK of no byte", "4000"), ("PUBREC of one byte", "500100"),
                   ("PUBREL of one byte", "620100"), ("PUBCOMP of one byte", "700100"),
                   ("SUBSCRIBE of no byte", "8200"), ("SUBSCRIBE of one byte", "820100"),
                   ("UNSUBSCRIBE of no byte", "a200"), ("PUBLISH of no byte", "3000"),
                   ("PUBLISH of one byte", "300100"), ("PUBLISH of QoS 1 without a packet id", "3203000161"),
                   ("a filter longer than its packet", "820700010000ff6100")):
    T.both("4.13.1-1", "4.8.0-1", name, A.connects(), A.sends(data), A.ends(BAD))
for name, data in (("PUBACK", "4003000100"), ("PUBREL", "6203000100"), ("DISCONNECT", "e00100")):
    T.v311("4.8.0-1", f"{name} with a reason code, as 5.0 has it",
           A.connects(), A.sends(data), A.closed())
for name, body, first in (("PUBACK", "000100ff", 0x40), ("PUBREL", "000100ff", 0x62),
                          ("DISCONNECT", "00ff", 0xe0), ("PUBREC", "00010005", 0x50)):
    T.v5("4.13.1-1 2.2.2-1", f"{name} with properties longer than itself",
         A.connects(), A.sends(raw(first, bytes.fromhex(body))), A.ends(BAD))
T.v5("4.13.1-1", "PUBLISH with properties longer than itself",
     A.connects(), A.sends(raw(0x30, binary("a") + b"\x05\x01")), A.ends(BAD))
T.v5("4.13.1-1", "DISCONNECT with more than its properties",
     A.connects(), A.sends(raw(0xe0, b"\0\0\0")), A.ends(BAD))
T.both("3.1.4-1", "3.1.4-1", "CONNECT with more than its fields",
       A.opens(), A.sends(connect(more=b"\0")), A.rejected())
T.both("3.1.4-1", "3.1.4-1", "CONNECT of no byte", A.opens(), A.sends("1000"), A.rejected())

# --- reason codes -------------------------------------------------------------------------------------

for name, build, code in (("PUBACK", send_puback, 0x01), ("PUBACK", send_puback, 0x92),
                          ("PUBREC", send_pubrec, 0x92), ("PUBREL", send_pubrel, 0x80)):
    number = {"PUBACK": "3.4.2-1", "PUBREC": "3.5.2-1", "PUBREL": "3.6.2-1"}[name]
    T.v5(f"{number} 4.13.1-1", f"{name} with reason code {code:#x}, which it may not have",
         A.connects(), A.sends(build(1, code=code)), A.ends(BAD))

# --- properties ---------------------------------------------------------------------------------------

VALUES = {"byte": 1, "two": 5, "four": 5, "varint": 5, "text": "a", "binary": b"a", "pair": ("a", "b")}
ALLOWED = {  # what a client may send
    "CONNECT": "session_expiry auth_method auth_data request_problem request_response receive_maximum "
               "topic_alias_maximum user_property maximum_packet_size",
    "will": "payload_format message_expiry content_type response_topic correlation_data will_delay "
            "user_property",
    "PUBLISH": "payload_format message_expiry content_type response_topic correlation_data topic_alias "
               "user_property",
    "PUBACK": "reason_string user_property", "PUBREC": "reason_string user_property",
    "PUBREL": "reason_string user_property", "PUBCOMP": "reason_string user_property",
    "SUBSCRIBE": "subscription_id user_property", "UNSUBSCRIBE": "user_property",
    "DISCONNECT": "session_expiry reason_string user_property",
}


def carrying(where, props):
    """The steps up to a packet with these properties (bytes)."""
    head = varint(len(props)) + props
    if where == "CONNECT":
        return A.opens(), A.sends(connect(properties=props))
    if where == "will":
        return A.opens(), A.sends(connect(will={"topic": "~/w", "properties": props}))
    packets = {"PUBLISH": raw(0x30, binary("a") + head + b"x"), "PUBACK": raw(0x40, b"\0\1\0" + head),
               "PUBREC": raw(0x50, b"\0\1\0" + head), "PUBREL": raw(0x62, b"\0\1\0" + head),
               "PUBCOMP": raw(0x70, b"\0\1\0" + head),
               "SUBSCRIBE": raw(0x82, b"\0\1" + head + binary("a") + b"\0"),
               "UNSUBSCRIBE": raw(0xa2, b"\0\1" + head + binary("a")),
               "DISCONNECT": raw(0xe0, b"\4" + head)}
    return A.connects(session_expiry=5), A.sends(packets[where])


def ended(where, *codes):
    return A.rejected(*codes) if where in ("CONNECT", "will") else A.ends(codes)


for where, names in ALLOWED.items():
    for name, (_, kind, _) in PROPERTIES.items():
        one = encode_property(name, VALUES[kind])
        if name not in names.split():
            T.v5("4.13.1-1" + (" 3.1.4-1" if where in ("CONNECT", "will") else ""),
                 f"{where} with {name}, which it may not have", *carrying(where, one),
                 ended(where, *BAD))
        elif name != "user_property":
            more = encode_property("auth_method", "a") if name == "auth_data" else b""
            T.v5("4.13.1-1" + (" 3.1.4-1" if where in ("CONNECT", "will") else ""),
                 f"{where} with {name} twice", *carrying(where, more + one + one),
                 ended(where, *BAD))
    T.v5("4.13.1-1", f"{where} with an unknown property", *carrying(where, b"\x7f\0"), ended(where, *BAD))
    T.v5("4.13.1-1", f"{where} with property 0", *carrying(where, b"\0\0"), ended(where, *BAD))
    T.v5("1.5.5-1 4.13.1-1", f"{where} with a property of a longer number than it needs",
         *carrying(where, b"\xa6\0" + binary("a") + binary("b")), ended(where, *BAD))
    T.v5("4.13.1-1", f"{where} with a property that ends early",
         *carrying(where, b"\x26\0\1a\0\5b"), ended(where, *BAD))
    T.v5("4.13.1-1", f"{where} with a property and no value", *carrying(where, b"\x26"),
         ended(where, *BAD))
for where, name, value in (("CONNECT", "receive_maximum", 0), ("CONNECT", "maximum_packet_size", 0),
                           ("CONNECT", "request_problem", 2), ("CONNECT", "request_response", 2),
                           ("will", "payload_format", 2), ("PUBLISH", "payload_format", 2),
                           ("SUBSCRIBE", "subscription_id", 0)):
    T.v5("4.13.1-1" + (" 3.1.4-1" if where in ("CONNECT", "will") else ""),
         f"{where} with {name} {value}", *carrying(where, encode_property(name, value)),
         ended(where, 0x82, 0x81))
T.v5("4.12.0-1 3.1.4-1", "authentication data without a method",
     *carrying("CONNECT", encode_property("auth_data", b"a")), A.rejected())
T.v5("3.3.4-6 4.13.1-1", "two subscription identifiers in one SUBSCRIBE",
     A.connects(), A.sends(subscribe("~/a", subscription_id=[1, 2])), A.ends(BAD))
T.v5("2.2.2-1", "an acknowledgement without and with reason code and properties is the same",
     B.connects(), B.subscribes("~/#", qos=1), A.connects(), A.publishes("~/a", "1"),
     A.publishes("~/a", "2"), A.publishes("~/a", "3"), A.publishes("~/a", "4"),
     B.hears(*[pub("~/a", str(i), qos=1) for i in (1, 2, 3, 4)]),
     B.answers(send_puback), B.answers(send_puback, back=2, code=0),
     B.answers(send_puback, back=3, code=0x10, properties={}),
     B.answers(send_puback, back=4, code=0, reason_string="r", user_property=[("a", "b")]), B.quiet())
T.v5("3.1.4-1 3.1.4-5", "CONNECT with all properties that it may have",
     A.connects(session_expiry=0, receive_maximum=65535, maximum_packet_size=4294967295 // 16,
                topic_alias_maximum=65535, request_response=1, request_problem=1,
                user_property=[("a", "b"), ("a", "b")]), A.quiet())
