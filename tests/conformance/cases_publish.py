# SPDX-License-Identifier: GPL-3.0-or-later
"""PUBLISH and what answers it, QoS 0 to 2 both ways, retained messages, properties, aliases."""

from exchange import (A, B, C, TAKEN, Step, Table, connack, pub, puback, pubcomp, pubrec, pubrel,
                      suback, upstream, wait)
from flaws import EMPTY_TOPIC
from wire import (PING, binary, connect, publish, raw, send_puback, send_pubcomp,
                  send_pubrec, send_pubrel, subscribe)

T = Table()
CASES = T.cases
BAD = (0x81, 0x82)
PONG = {"type": "PINGRESP"}
REFUSED = (0x80, 0x83, 0x87, 0x90, 0x97)  # what PUBACK and PUBREC may say of a message


def watch(qos, filter="~/#", who=B, **options):
    return who.connects(), who.subscribes(filter, qos=qos, **options)


# --- QoS 0 and 1 --------------------------------------------------------------------------------------

T.both("3.3.4-1 4.3.1-1 4.5.0-1", "3.3.4-1 4.3.1-1 4.5.0-1", "QoS 0 goes to who subscribed, unanswered",
       watch(0), A.connects(), A.sends(publish("~/a", "hello")), A.quiet(),
       B.hears(pub("~/a", "hello")), B.quiet(), upstream("~/a", b"hello"))
T.both("3.3.4-1 4.3.2-4 2.2.1-5 3.4.2-1", "3.3.4-1 4.3.2-2 2.3.1-6",
       "QoS 1 is answered with PUBACK of its packet id", A.connects(),
       A.sends(publish("~/a", qos=1, id=1)), A.hears(puback(1)),
       A.sends(publish("~/a", qos=1, id=65535)), A.hears(puback(65535)), A.quiet(), upstream("~/a"))
T.both("4.3.2-2 4.3.2-1 2.2.1-4 3.3.1-3", "4.3.2-1 2.3.1-4 3.3.1-3",
       "QoS 1 goes to who subscribed, with a packet id and without DUP",
       watch(1), A.connects(), A.publishes("~/a", "1", id=9), A.publishes("~/a", "2", id=9),
       B.takes(pub("~/a", "1", qos=1), pub("~/a", "2", qos=1)), B.quiet())
T.both("3.3.1-3", "3.3.1-3", "DUP from the client is not handed on",
       watch(1), A.connects(), A.sends(publish("~/a", qos=1, id=9, dup=1)), A.hears(puback(9)),
       B.takes(pub("~/a", qos=1, dup=0)))
T.both("4.3.2-5", "4.3.2-2", "after PUBACK the same packet id with DUP is a new message",
       watch(1), A.connects(), A.publishes("~/a", "1", id=5),
       A.sends(publish("~/a", "2", qos=1, id=5, dup=1)), A.hears(puback(5)),
       B.takes(pub("~/a", "1", qos=1), pub("~/a", "2", qos=1)))
T.both("4.3.2-1 2.2.1-4 4.3.2-3", "4.3.2-1 2.3.1-4", "packet ids that are not acknowledged are not used again",
       watch(1), A.connects(), *[A.publishes("~/a", str(i), id=i) for i in range(1, 9)],
       B.hears(*[pub("~/a", str(i), qos=1) for i in range(1, 9)]), B.quiet())
T.both("3.3.1-2 4.13.1-1", "3.3.1-2 4.8.0-1", "DUP with QoS 0",
       A.connects(), A.sends(publish("~/a", dup=1)), A.ends(BAD))
T.both("3.3.1-4 4.13.1-1", "3.3.1-4 4.8.0-1", "QoS 3",
       A.connects(), A.sends(publish("~/a", qos=3)), A.ends(BAD))
T.both("2.2.1-3", "2.3.1-1", "QoS 1 with packet id 0",
       A.connects(), A.sends(publish("~/a", qos=1, id=0)), A.ends(BAD))
T.both("2.2.1-3", "2.3.1-1", "QoS 2 with packet id 0",
       A.connects(), A.sends(publish("~/a", qos=2, id=0)), A.ends(BAD))
T.both("2.2.1-2", "2.3.1-5", "what stands where QoS 0 has no packet id is payload",
       watch(0), A.connects(),
       A.sends(lambda c: raw(0x30, binary(c.mark) + (b"\0" if c.version == 5 else b"") + b"\0\1")),
       B.hears(pub("~", b"\0\1")), A.quiet(), upstream("~", b"\0\1"))
T.both("4.6.0-5 4.6.0-6", "4.6.0-2 4.6.0-5 4.6.0-6", "messages and PUBACKs keep their order",
       watch(1), A.connects(),
       A.sends_together(*[publish("~/a", str(i), qos=1, id=i) for i in range(1, 21)]),
       A.hears(*[puback(i) for i in range(1, 21)]),
       B.takes(*[pub("~/a", str(i), qos=1) for i in range(1, 21)]))
T.both("4.6.0-5 4.6.0-6", "4.6.0-5 4.6.0-6", "messages of QoS 0 keep their order",
       watch(0), A.connects(), A.sends_together(*[publish("~/a", str(i)) for i in range(40)]),
       B.hears(*[pub("~/a", str(i)) for i in range(40)]))
T.both("4.2.0-1", "7.1.1-1", "packets are taken byte by byte",
       A.opens(), A.sends_slowly(connect(), publish("~/a", "slow", qos=1, id=3), PING),
       A.hears(connack()), A.hears_all(puback(3), PONG), upstream("~/a", b"slow"))
T.both("4.2.0-1", "7.1.1-1", "packets are taken many in one record",
       A.opens(), A.sends_together(connect(), *[publish("~/a", qos=0) for _ in range(60)], PING),
       A.hears(connack(), PONG))
T.both("3.3.4-1 4.13.2-1", "3.3.5-2", "a message that is not allowed is refused",
       A.connects(), A.sends(publish("$SYS/x", qos=1, id=4)),
       Step("it is refused", lambda run: (A.hears(puback(4, REFUSED)) if run.version == 5 else
                                          A.closed()).do(run)))
T.v5("4.3.3-9 3.5.2-1", "a message of QoS 2 that is not allowed is refused, and its packet id is free",
     A.connects(), A.sends(publish("$SYS/x", qos=2, id=4)), A.hears(pubrec(4, REFUSED)),
     A.publishes("~/a", "new", qos=2, id=4), upstream("~/a", b"new"))
T.v5("3.4.2-2 3.4.2-3 3.1.2-24", "PUBACK fits into the client's maximum packet size",
     A.connects(maximum_packet_size=48), A.sends(publish("$SYS/x", qos=1, id=4)),
     A.hears(puback(4, REFUSED)), A.quiet())
T.v5("3.5.2-2 3.5.2-3", "PUBREC fits into the client's maximum packet size",
     A.connects(maximum_packet_size=48), A.sends(publish("$SYS/x", qos=2, id=4)),
     A.hears(pubrec(4, REFUSED)), A.quiet())
T.v5("3.7.2-2 3.7.2-3 3.7.2-1", "PUBCOMP fits into the client's maximum packet size",
     A.connects(maximum_packet_size=48), A.sends(send_pubrel(77)), A.hears(pubcomp(77, 0x92)))
T.v5("3.6.2-2 3.6.2-3 3.6.2-1", "PUBREL fits into the client's maximum packet size",
     A.connects(maximum_packet_size=48), A.sends(send_pubrec(77)), A.hears(pubrel(77, 0x92)))
T.v5("3.1.2-29", "no reason string where problem information is not wanted",
     A.connects(request_problem=0), A.sends(publish("$SYS/x", qos=1, id=4)),
     A.hears(puback(4, REFUSED)), A.sends(subscribe("$SYS/x", id=5)),
     A.hears(suback(5, (0x80, 0x87, 0x8f))))
T.v5("3.1.2-25 3.1.2-24", "what is larger than the client takes is not sent, and counts as sent",
     B.connects(maximum_packet_size=100, receive_maximum=1), B.subscribes("~/#", qos=1), A.connects(),
     A.publishes("~/a", b"y" * 200, id=1), A.publishes("~/a", "small", id=2),
     A.publishes("~/a", b"z" * 200, id=3), A.publishes("~/a", "again", id=4),
     B.takes(pub("~/a", "small", qos=1), pub("~/a", "again", qos=1)), B.quiet())

# --- QoS 2 --------------------------------------------------------------------------------------------

T.both("3.3.4-1 4.3.3-8 4.3.3-11 2.2.1-5 3.5.2-1 3.7.2-1", "3.3.4-1 4.3.3-2 2.3.1-6",
       "QoS 2 is answered with PUBREC and PUBCOMP", A.connects(),
       A.sends(publish("~/a", "two", qos=2, id=6)), A.hears(pubrec(6)), A.sends(send_pubrel(6)),
       A.hears(pubcomp(6)), A.quiet(), upstream("~/a", b"two"))
T.both("4.3.3-2 4.3.3-4 4.3.3-1 3.6.1-1 3.6.2-1 2.2.1-4 2.1.3-1", "4.3.3-1 3.6.1-1 2.3.1-4 2.2.2-1",
       "QoS 2 goes to who subscribed, with PUBREL after PUBREC",
       watch(2), A.connects(), A.publishes("~/a", "two", qos=2),
       B.hears(pub("~/a", "two", qos=2, dup=0)), B.answers(send_pubrec), B.hears(
           {"type": "PUBREL", "id": lambda v: v > 0, "code": 0}), B.answers(send_pubcomp), B.quiet())
T.both("4.3.3-10", "4.3.3-2", "QoS 2: the same packet id before PUBREL is no second message",
       watch(2), A.connects(), A.sends(publish("~/a", "two", qos=2, id=6)), A.hears(pubrec(6)),
       A.sends(publish("~/a", "two", qos=2, id=6, dup=1)), A.hears(pubrec(6)),
       A.sends(publish("~/a", "two", qos=2, id=6, dup=1)), A.hears(pubrec(6)),
       A.sends(send_pubrel(6)), A.hears(pubcomp(6)), B.takes(pub("~/a", "two", qos=2)), B.quiet())
T.both("4.3.3-12", "4.3.3-2", "QoS 2: after PUBCOMP the same packet id is a new message",
       watch(2), A.connects(), A.publishes("~/a", "1", qos=2, id=6),
       A.publishes("~/a", "2", qos=2, id=6),
       B.takes(pub("~/a", "1", qos=2), pub("~/a", "2", qos=2)), B.quiet())
T.both("4.3.3-11 3.7.2-1", "4.3.3-2", "PUBREL twice is answered twice",
       A.connects(), A.publishes("~/a", qos=2, id=6), A.sends(send_pubrel(6)),
       A.hears(pubcomp(6, (0, 0x92))), A.quiet())
T.both("4.3.3-11 3.7.2-1", "4.3.3-2", "PUBREL for what is not known is answered",
       A.connects(), A.sends(send_pubrel(600)), A.hears(pubcomp(600, (0, 0x92))), A.quiet())
T.both("3.6.2-1", "4.3.3-1", "PUBREC for what is not known is answered, or left alone",
       A.connects(), A.sends(send_pubrec(600)), A.sends(PING),
       Step("PUBREL or nothing comes", lambda run: known_or_left(run)))
T.both("4.3.3-6 4.3.3-5", "4.3.3-1", "PUBREC twice: PUBREL again, the message not",
       watch(2), A.connects(), A.publishes("~/a", "two", qos=2), B.hears(pub("~/a", "two", qos=2)),
       B.answers(send_pubrec), B.hears({"type": "PUBREL", "code": 0}), B.answers(send_pubrec),
       B.hears({"type": "PUBREL", "code": 0}), B.answers(send_pubcomp), B.quiet())
T.v5("4.4.0-2 4.3.3-4", "a PUBREC that refuses ends the sequence",
     watch(2), A.connects(), A.publishes("~/a", "two", qos=2), B.hears(pub("~/a", "two", qos=2)),
     B.answers(send_pubrec, code=0x80), B.quiet(), A.publishes("~/a", "next", qos=2),
     B.takes(pub("~/a", "next", qos=2)))
T.both("3.6.1-1 4.13.1-1", "3.6.1-1 4.8.0-1", "PUBREL with other flags",
       A.connects(), A.sends("60020001"), A.ends(0x81))
T.both("4.6.0-5 4.6.0-6", "4.6.0-3 4.6.0-4 4.6.0-5 4.6.0-6", "QoS 2: PUBRECs, PUBCOMPs and messages keep their order",
       watch(2), A.connects(),
       A.sends_together(*[publish("~/a", str(i), qos=2, id=i) for i in range(1, 9)]),
       A.hears(*[pubrec(i) for i in range(1, 9)]),
       A.sends_together(*[send_pubrel(i) for i in range(1, 9)]),
       A.hears(*[pubcomp(i) for i in range(1, 9)]),
       B.takes(*[pub("~/a", str(i), qos=2) for i in range(1, 9)]))
T.both("4.6.0-5", "4.6.0-4 4.6.0-6", "PUBRELs keep the order of the PUBRECs",
       watch(2), A.connects(), *[A.publishes("~/a", str(i), qos=2, id=i) for i in (1, 2, 3)],
       B.hears(*[pub("~/a", str(i), qos=2) for i in (1, 2, 3)]),
       B.answers(send_pubrec, back=3), B.hears({"type": "PUBREL"}), B.answers(send_pubrec, back=3),
       B.hears({"type": "PUBREL"}), B.answers(send_pubrec, back=3), B.hears({"type": "PUBREL"}),
       *[B.answers(send_pubcomp, back=i) for i in (3, 2, 1)], B.quiet())


def known_or_left(run):
    c = run.connections["A"]
    A.expect(c, [{"type": lambda t: t in ("PUBREL", "PINGRESP")}])
    if c.heard[-1]["type"] == "PUBREL":
        A.expect(c, [PONG])


T.both("2.2.1-5", "2.3.1-6", "an acknowledgement of what was never sent does no harm",
       A.connects(), A.sends(send_puback(99), send_pubcomp(98)), A.quiet())
# No statement names it; it is what section 1.2 calls a Protocol Error, inconsistent with the state.
T.both("4.13.1-1 4.3.3-3 4.4.0-1", "4.8.0-1 4.3.3-1 4.4.0-1",
       "PUBACK for a message of QoS 2 ends the connection, not the message's sequence",
       B.connects(clean=0, session_expiry=60), B.subscribes("~/#", qos=2), A.connects(),
       A.publishes("~/a", "two", qos=2), B.hears(pub("~/a", "two", qos=2)), B.answers(send_puback),
       B.ends(0x82), B.connects(clean=0, present=1, session_expiry=60),
       B.takes(pub("~/a", "two", qos=2, dup=1)), B.quiet())
# Whether onward delivery begins with PUBLISH or with PUBREL is the server's affair.
T.v5("4.3.3-13", "QoS 2: the sequence is completed after the message has expired",
     watch(2), A.connects(), A.sends(publish("~/a", "two", qos=2, id=6, message_expiry=1)),
     A.hears(pubrec(6)), wait(1.5), A.sends(send_pubrel(6)), A.hears(pubcomp(6)), A.quiet(),
     B.may_take(pub("~/a", "two", qos=2, message_expiry=lambda v: v <= 1)), B.quiet())

# --- topics -------------------------------------------------------------------------------------------

for bad in ("~/#", "~/+", "#", "+", "~+x", "~/a#"):
    T.both("3.3.2-2 4.7.0-1 4.13.1-1", "3.3.2-2 4.7.1-1 4.8.0-1", f"PUBLISH to {bad}",
           A.connects(), A.sends(publish(bad, qos=1)), A.ends((0x81, 0x82, 0x90)))
T.both("4.7.3-1", "4.7.3-1", "PUBLISH without a topic",
       A.connects(), A.sends(publish("", qos=1)), A.ends((0x81, 0x82, 0x90)), pattern=EMPTY_TOPIC)
T.both("3.3.2-1", "3.3.2-1", "PUBLISH with a topic longer than the packet",
       A.connects(), A.sends(raw(0x30, b"\xff\xffab")), A.ends(0x81))
T.both("4.7.3-3", "4.7.3-3", "a topic of 65,535 bytes is well-formed",
       A.connects(), A.sends(publish("a" * 65535, qos=1)),
       Step("it is acknowledged, refused, or too long for this server",
            lambda run: long_topic(run)))


def long_topic(run):
    """A server may have a bound of its own: then this message alone is refused."""
    c = run.connections["A"]
    if c.version == 5:
        A.expect(c, [{"type": "PUBACK", "code": (*TAKEN, *REFUSED)}])
    elif c.packet(4) is None and not c.ended:
        A.closed().do(run)


# --- retained messages ----------------------------------------------------------------------------------

T.both("3.3.1-5 3.3.1-9", "3.3.1-5 3.3.1-6 3.3.1-8", "a retained message is there for who subscribes later",
       A.connects(), A.publishes("~/r", "kept", qos=1, retain=1), B.connects(),
       B.subscribes("~/#", qos=1), B.takes(pub("~/r", "kept", qos=1, retain=1)), B.quiet())
for qos in (0, 2):
    T.both("3.3.1-5", "3.3.1-5", f"a retained message of QoS {qos} is stored with its QoS",
           A.connects(), A.publishes("~/r", "kept", qos=qos, retain=1), B.connects(),
           B.subscribes("~/#", qos=2), B.takes(pub("~/r", "kept", qos=qos, retain=1)))
T.both("3.3.1-5", "3.3.1-5 3.3.1-6 3.3.1-7", "a retained message replaces the one before",
       A.connects(), A.publishes("~/r", "1", qos=1, retain=1), A.publishes("~/r", "2", qos=0, retain=1),
       B.connects(), B.subscribes("~/#", qos=1), B.hears(pub("~/r", "2", retain=1)), B.quiet())
T.both("3.3.1-6 3.3.1-7", "3.3.1-10 3.3.1-11", "an empty retained message is delivered and takes the stored one away",
       watch(0), A.connects(), A.publishes("~/r", "1", retain=1), A.publishes("~/r", b"", retain=1),
       B.hears(pub("~/r", "1"), pub("~/r", b"")), C.connects(), C.subscribes("~/#"), C.quiet())
T.both("3.3.1-8", "3.3.1-12", "a message without retain changes nothing that is retained",
       A.connects(), A.publishes("~/r", "kept", retain=1), A.publishes("~/r", "other"),
       A.publishes("~/r", b""), A.publishes("~/s", "other"), B.connects(), B.subscribes("~/#", qos=1),
       B.takes(pub("~/r", "kept", qos=1, retain=1)), B.quiet())
T.both("3.3.1-12", "3.3.1-9", "a retained message goes to who is there without the flag",
       watch(0), A.connects(), A.publishes("~/r", "kept", retain=1), B.hears(pub("~/r", "kept")))
T.both("3.3.1-5", "3.1.2-7 3.3.1-5", "retained messages outlive the session that published them",
       A.connects(), A.publishes("~/r", "kept", retain=1), A.leaves(), A.connects(), A.leaves(),
       B.connects(), B.subscribes("~/r"), B.hears(pub("~/r", "kept", retain=1)))
T.both("3.3.1-9", "3.3.1-6", "one retained message of each topic that matches",
       A.connects(), A.publishes("~/r/1", "1", retain=1), A.publishes("~/r/2", "2", retain=1),
       A.publishes("~/s/1", "3", retain=1), B.connects(), B.subscribes("~/r/+"),
       B.hears_all(pub("~/r/1", "1", retain=1), pub("~/r/2", "2", retain=1)), B.quiet())
T.v5("3.3.1-13", "retain as published: with the flag that it had",
     B.connects(), B.subscribes("~/#", options=0x08), A.connects(),
     A.publishes("~/r", "kept", retain=1), A.publishes("~/r", "other"),
     B.hears(pub("~/r", "kept", retain=1), pub("~/r", "other")))
T.v5("3.3.1-12", "retain as published 0: without",
     B.connects(), B.subscribes("~/#", options=0x00), A.connects(),
     A.publishes("~/r", "kept", retain=1), B.hears(pub("~/r", "kept")))
T.v5("3.3.1-9 3.8.4-4 3.8.4-3", "retain handling 0: sent with each SUBSCRIBE",
     A.connects(), A.publishes("~/r", "kept", retain=1), B.connects(), B.subscribes("~/#"),
     B.hears(pub("~/r", "kept", retain=1)), B.subscribes("~/#", id=2),
     B.hears(pub("~/r", "kept", retain=1)), B.quiet())
T.v5("3.3.1-10", "retain handling 1: sent with the first SUBSCRIBE alone",
     A.connects(), A.publishes("~/r", "kept", retain=1), B.connects(),
     B.subscribes("~/#", options=0x10), B.hears(pub("~/r", "kept", retain=1)),
     B.subscribes("~/#", options=0x10, id=2), B.quiet())
T.v5("3.3.1-11", "retain handling 2: not sent",
     A.connects(), A.publishes("~/r", "kept", retain=1), B.connects(),
     B.subscribes("~/#", options=0x20), B.quiet(), A.publishes("~/r", "now", retain=1),
     B.hears(pub("~/r", "now")))
T.v5("3.3.2-6 3.3.2-5", "a retained message expires, and tells how much is left",
     A.connects(), A.publishes("~/r", "kept", retain=1, message_expiry=5), wait(1.2), B.connects(),
     B.subscribes("~/r"), B.hears(pub("~/r", "kept", retain=1, message_expiry=(2, 3, 4))), wait(4.2),
     C.connects(), C.subscribes("~/r"), C.quiet())
T.v5("3.3.2-17 3.3.2-15 3.3.2-16 3.3.2-20 3.3.2-4", "a retained message keeps its properties",
     A.connects(), A.publishes("~/r", "kept", retain=1, payload_format=1, content_type="text/plain",
                               response_topic="r/t", correlation_data=b"\1\0",
                               user_property=[("b", "1"), ("a", "2")]),
     B.connects(), B.subscribes("~/r"),
     B.hears(pub("~/r", "kept", retain=1, payload_format=1, content_type="text/plain",
                 response_topic="r/t", correlation_data=b"\1\0",
                 user_property=[("b", "1"), ("a", "2")])))

# --- properties ---------------------------------------------------------------------------------------

T.v5("3.3.2-4", "the payload format is handed on",
     watch(0), A.connects(), A.publishes("~/a", payload_format=1), A.publishes("~/a", payload_format=0),
     B.hears(pub("~/a", payload_format=1), pub("~/a", payload_format=lambda v: v in (None, 0))))
T.v5("3.3.2-20 3.3.2-19", "the content type is handed on",
     watch(0), A.connects(), A.publishes("~/a", content_type="text/plain; charset=ü"),
     B.hears(pub("~/a", content_type="text/plain; charset=ü")))
T.v5("3.3.2-15 3.3.2-16", "response topic and correlation data are handed on",
     watch(0), A.connects(), A.publishes("~/a", response_topic="~/r", correlation_data=bytes(range(256))),
     B.hears(pub("~/a", response_topic="~/r", correlation_data=bytes(range(256)))))
T.v5("3.3.2-17 3.3.2-18 1.5.7-1", "user properties are handed on in their order",
     watch(0), A.connects(), A.publishes("~/a", user_property=[("z", "1"), ("a", ""), ("", "x"),
                                                               ("z", "1"), ("é", "☃")]),
     B.hears(pub("~/a", user_property=[("z", "1"), ("a", ""), ("", "x"), ("z", "1"), ("é", "☃")])))
T.v5("2.2.2-1", "no properties: a length of 0, both ways",
     watch(0), A.connects(), A.publishes("~/a"), B.hears(pub("~/a")))
T.v5("3.3.2-6", "the expiry is handed on",
     watch(0), A.connects(), A.publishes("~/a", message_expiry=100), B.hears(
         pub("~/a", message_expiry=lambda v: v in (99, 100))))
for bad in ("~/#", "~/+/x"):
    T.v5("3.3.2-14", f"a response topic {bad}", A.connects(),
         A.sends(publish("~/a", response_topic=bad)), A.ends((0x81, 0x82, 0x90)))
T.v5("3.3.2-13", "a response topic that is no UTF-8",
     A.connects(), A.sends(publish("~/a", response_topic=b"\xff")), A.ends(BAD))
T.v5("3.3.2-19", "a content type that is no UTF-8",
     A.connects(), A.sends(publish("~/a", content_type=b"\xff")), A.ends(BAD))
T.v5("3.3.4-6", "a subscription identifier from a client",
     A.connects(), A.sends(publish("~/a", subscription_id=1)), A.ends(BAD))

# --- topic aliases --------------------------------------------------------------------------------------

T.v5("3.3.2-12 3.2.2-17", "all aliases up to the announced maximum are taken, and may change",
     watch(0), A.connects(),
     *[A.publishes(f"~/{i}", str(i), topic_alias=i) for i in range(1, 17)],
     *[A.publishes("", f"again {i}", topic_alias=i) for i in range(1, 17)],
     A.publishes("~/other", "moved", topic_alias=1), A.publishes("", "there", topic_alias=1),
     B.hears(*[pub(f"~/{i}", str(i)) for i in range(1, 17)],
             *[pub(f"~/{i}", f"again {i}") for i in range(1, 17)],
             pub("~/other", "moved"), pub("~/other", "there")))
T.v5("3.3.2-8", "topic alias 0",
     A.connects(), A.sends(publish("~/a", topic_alias=0)), A.ends(0x94))
for alias in (17, 65535):
    T.v5("3.3.2-9 3.2.2-17", f"topic alias {alias}, above the maximum",
         A.connects(), A.sends(publish("~/a", topic_alias=alias)), A.ends(0x94))
T.v5("3.3.2-7", "an alias that was never given",
     A.connects(), A.sends(publish("", topic_alias=3)), A.ends((0x82, 0x94)))
T.v5("3.3.2-7", "aliases end with the connection, whatever the session does",
     A.connects(session_expiry=30), A.publishes("~/a", topic_alias=3), A.leaves(),
     A.connects(clean=0, present=1, session_expiry=30), A.sends(publish("", topic_alias=3)),
     A.ends((0x82, 0x94)))
T.v5("3.1.2-27 3.3.2-11", "no alias to a client that named no maximum",
     watch(0), A.connects(), *[A.publishes("~/long/topic/name", str(i)) for i in range(5)],
     B.hears(*[pub("~/long/topic/name", str(i)) for i in range(5)]),
     Step("there is none", lambda run: no_alias(run)))
T.v5("3.1.2-26 3.3.2-11", "aliases to a client stay within its maximum, and mean the right topic",
     B.connects(topic_alias_maximum=2), B.subscribes("~/#"), A.connects(),
     *[A.publishes(f"~/{t}", f"{t}{n}", qos=0) for n in range(3) for t in "abc"],
     B.hears(*[pub(f"~/{t}", f"{t}{n}") for n in range(3) for t in "abc"]),
     Step("the server used aliases", lambda run: some_alias(run)))


def no_alias(run):
    if run.aliased:
        raise AssertionError("an alias was used")


def some_alias(run):
    """It is the server's choice; a server that never uses one has not been seen to keep the bound."""
    if not run.aliased:
        run.transcript.append("-- the server used no alias")


# --- receive maximum ------------------------------------------------------------------------------------

T.v5("3.3.4-7 4.9.0-2", "more than the server's receive maximum of QoS 2",
     A.connects(), A.sends_together(*[publish("~/a", qos=2, id=i) for i in range(1, 66)]),
     Step("the end, with 0x93, after PUBRECs or none", lambda run: too_many(run)))
T.v5("3.3.4-7 4.9.0-1", "as many as the server's receive maximum",
     A.connects(), A.sends_together(*[publish("~/a", qos=2, id=i) for i in range(1, 65)]),
     A.hears(*[pubrec(i) for i in range(1, 65)]),
     A.sends_together(*[send_pubrel(i) for i in range(1, 65)]),
     A.hears(*[pubcomp(i) for i in range(1, 65)]), A.quiet())
T.v5("3.3.4-9 4.9.0-1 4.9.0-2", "no more than the client's receive maximum of QoS 1",
     B.connects(receive_maximum=2), B.subscribes("~/#", qos=1), A.connects(),
     *[A.publishes("~/a", str(i)) for i in range(5)],
     B.hears(pub("~/a", "0", qos=1), pub("~/a", "1", qos=1)), B.quiet(),
     B.answers(send_puback, back=2), B.hears(pub("~/a", "2", qos=1)), B.quiet(),
     B.answers(send_puback), B.hears(pub("~/a", "3", qos=1)), B.quiet(),
     B.answers(send_puback), B.hears(pub("~/a", "4", qos=1)), B.quiet())
T.v5("3.3.4-9 4.9.0-2 4.3.3-5", "QoS 2 counts up to PUBCOMP",
     B.connects(receive_maximum=1), B.subscribes("~/#", qos=2), A.connects(),
     *[A.publishes("~/a", str(i), qos=2) for i in range(2)],
     B.hears(pub("~/a", "0", qos=2)), B.answers(send_pubrec), B.hears({"type": "PUBREL"}), B.quiet(),
     B.answers(send_pubcomp), B.takes(pub("~/a", "1", qos=2)))
T.v5("4.4.0-2 3.3.4-9", "a PUBREC that refuses makes room",
     B.connects(receive_maximum=1), B.subscribes("~/#", qos=2), A.connects(),
     *[A.publishes("~/a", str(i), qos=2) for i in range(2)],
     B.hears(pub("~/a", "0", qos=2)), B.answers(send_pubrec, code=0x97),
     B.takes(pub("~/a", "1", qos=2)))
T.v5("3.3.4-10 4.9.0-3", "while the quota is used up all else goes on",
     B.connects(receive_maximum=1), B.subscribes("~/#", qos=1), A.connects(),
     *[A.publishes("~/a", str(i)) for i in range(3)], B.hears(pub("~/a", "0", qos=1)),
     B.sends(PING), B.hears(PONG), B.subscribes("~/other", id=9), B.publishes("x/y", qos=1, id=4),
     B.publishes("x/y", qos=2, id=5))

def too_many(run):
    c = run.connections["A"]
    while (p := c.packet(4)) and p["type"] == "PUBREC":
        pass
    if not p or p["type"] != "DISCONNECT" or p["code"] != 0x93:
        raise AssertionError(f"no DISCONNECT 0x93 but {p}")
    A.closed().do(run)
