# SPDX-License-Identifier: GPL-3.0-or-later
"""SUBSCRIBE, UNSUBSCRIBE, which topics a filter takes, shared subscriptions."""

from exchange import (A, B, C, Failure, Step, Table, pub, puback, suback, unsuback, words)
from wire import (PING, publish, raw, send_puback, send_pubcomp, send_pubrec, subscribe, unsubscribe)

T = Table()
CASES = T.cases
BAD = (0x81, 0x82)
NOT_HERE = (0x80, 0x87, 0x8f)
PUBREL = {"type": "PUBREL", "code": 0}


def no_filter(who, *codes):
    """A filter that is none: the end, or a failure for this filter alone."""
    def look(run):
        c = run.connections[who.name]
        p = c.packet(4)
        if p and p["type"] == "SUBACK":
            if any(code < 0x80 for code in p["codes"]):
                raise Failure(f"it is granted: {words(p)}")
            return
        if p and (p["type"] != "DISCONNECT" or p["code"] not in (*BAD, 0x8f, *codes)):
            raise Failure(f"there comes {words(p)}")
        who.closed().do(run)
    return Step("it is refused", look)


# --- SUBSCRIBE ----------------------------------------------------------------------------------------

T.both("3.8.4-1 3.8.4-2 2.2.1-6 3.8.4-7 3.9.3-2", "3.8.4-1 3.8.4-2 2.3.1-7 3.8.4-5 3.9.3-2",
       "SUBSCRIBE is answered with SUBACK of its packet id", A.connects(),
       A.sends(subscribe("~/a", id=1)), A.hears(suback(1, 0)),
       A.sends(subscribe("~/b", id=65535, qos=1)), A.hears(suback(65535, 1)), A.quiet())
T.both("3.8.4-7 3.2.2-10", "3.8.4-5", "each QoS is granted as asked for",
       A.connects(), A.sends(subscribe(("~/a", 0), ("~/b", 1), ("~/c", 2))), A.hears(suback(1, 0, 1, 2)))
T.both("3.8.4-5 3.8.4-6 3.9.3-1", "3.8.4-4 3.8.4-5 3.9.3-1",
       "several filters: one SUBACK, a code for each, in their order",
       A.connects(), A.sends(subscribe(("~/a", 1), ("$SYS/#", 0), ("~/b", 0), ("rats/dev2/#", 1),
                                       ("~/c", 1), id=77)),
       A.hears(suback(77, 1, NOT_HERE, 0, NOT_HERE, 1)), B.connects(), B.publishes("~/a", qos=1),
       B.publishes("~/b"), B.publishes("~/c"),
       A.takes(pub("~/a", qos=1), pub("~/b", qos=0), pub("~/c", qos=1)), A.quiet())
for p in (0, 1, 2):
    for s in (0, 1, 2):
        T.both("3.8.4-8", "3.8.4-6", f"published with QoS {p}, granted {s}",
               B.connects(), B.subscribes("~/a", qos=s), A.connects(), A.publishes("~/a", qos=p),
               B.takes(pub("~/a", qos=min(p, s))), B.quiet())
T.both("3.8.4-3", "3.8.4-3", "the same filter again replaces the subscription",
       B.connects(), B.subscribes("~/a", qos=1), B.subscribes("~/a", qos=0, id=2), A.connects(),
       A.publishes("~/a"), B.hears(pub("~/a")), B.subscribes("~/a", qos=1, id=3), A.publishes("~/a"),
       B.takes(pub("~/a", qos=1)), B.quiet())
T.both("3.8.4-4 3.8.4-3", "3.8.4-3", "no message is lost while a subscription is replaced",
       B.connects(), B.subscribes("~/a", qos=1), A.connects(), A.publishes("~/a", "1"),
       B.subscribes_among("~/a", "1"), A.publishes("~/a", "2"), B.takes(pub("~/a", "2", qos=1)))
T.both("3.8.4-4", "3.8.4-3", "the same filter again: its retained messages come again",
       A.connects(), A.publishes("~/r", "kept", retain=1), B.connects(), B.subscribes("~/r"),
       B.hears(pub("~/r", "kept", retain=1)), B.subscribes("~/r", id=2),
       B.hears(pub("~/r", "kept", retain=1)), B.quiet())
T.both("3.3.4-2", "3.3.5-1", "overlapping subscriptions: the highest QoS of them",
       B.connects(), B.subscribes(("~/#", 0), ("~/a", 1), ("~/+", 0)), A.connects(),
       A.publishes("~/a"), B.takes(pub("~/a", qos=1)), B.quiet())
T.v5("3.3.4-3 3.3.4-4 3.3.4-5", "overlapping subscriptions: all their identifiers",
     B.connects(), B.subscribes("~/#", qos=1, subscription_id=1),
     B.subscribes("~/a", qos=1, id=2, subscription_id=268435455),
     B.subscribes("~/+", qos=0, id=3), A.connects(), A.publishes("~/a"),
     B.takes(pub("~/a", qos=1, subscription_id=lambda v: sorted(v or []) == [1, 268435455])),
     A.publishes("~/b/c"), B.takes(pub("~/b/c", qos=1, subscription_id=[1])), B.quiet())
T.v5("3.3.4-3 3.8.4-3", "a subscription that replaces takes the identifier with it",
     B.connects(), B.subscribes("~/a", subscription_id=5), B.subscribes("~/a", id=2, subscription_id=6),
     A.connects(), A.publishes("~/a"), B.hears(pub("~/a", subscription_id=[6])),
     B.subscribes("~/a", id=3), A.publishes("~/a"), B.hears(pub("~/a")))
T.v5("3.8.3-3", "no local: not to the publisher itself",
     A.connects(), A.subscribes("~/#", options=0x05), B.connects(), B.subscribes("~/#", options=0x05),
     A.publishes("~/a"), A.quiet(), B.takes(pub("~/a", qos=1)), B.quiet())
T.v5("3.8.3-3", "no local 0: to the publisher too",
     A.connects(), A.subscribes("~/#"), A.sends(publish("~/a", qos=1, id=3)),
     A.hears_all(puback(3), pub("~/a")), A.quiet())
T.both("3.8.3-2 4.13.1-1", "3.8.3-3 4.8.0-1", "SUBSCRIBE without a filter",
       A.connects(), A.sends(subscribe()), A.ends(0x82))
T.both("2.2.1-3", "2.3.1-1", "SUBSCRIBE with packet id 0",
       A.connects(), A.sends(subscribe("~/a", id=0)), A.ends(BAD))
for first in (0x80, 0x83, 0x8a):
    T.both("3.8.1-1 2.1.3-1", "3.8.1-1 2.2.2-2 2.2.2-1", f"SUBSCRIBE with first byte {first:#x}",
           A.connects(), A.sends(subscribe("~/a", first=first)), A.ends(0x81))
for options in (0x40, 0x80, 0xc1):
    T.both("3.8.3-5", "3.8.3-4", f"reserved subscription options {options:#x}",
           A.connects(), A.sends(subscribe("~/a", options=options)), A.ends(BAD))
T.both("3.8.3-5", "3.8.3-4", "a subscription of QoS 3",
       A.connects(), A.sends(subscribe("~/a", options=3)), A.ends(BAD))
T.v5("3.8.3-5", "retain handling 3",
     A.connects(), A.sends(subscribe("~/a", options=0x30)), A.ends(BAD))
for options in (0x04, 0x08, 0x10):
    T.v311("3.8.3-4", f"options of 5.0 in 3.1.1: {options:#x}",
           A.connects(), A.sends(subscribe("~/a", options=options)), A.ends(0x81))
T.both("3.8.3-2", "3.8.3-3", "SUBSCRIBE with a filter and no options",
       A.connects(), A.sends(lambda c: raw(0x82, b"\0\1" + (b"\0" if c.version == 5 else b"") +
                                           b"\0\1a")), A.ends(BAD))
for name, bad in (("no UTF-8", b"~/\xc3\x28"), ("a surrogate", b"~/\xed\xb0\x80"),
                  ("U+0000", b"~/a\0b")):
    T.both("3.8.3-1 4.7.3-2", "3.8.3-1 4.7.3-2", f"a filter with {name}",
           A.connects(), A.sends(subscribe(bad)), A.ends(BAD))
    T.both("3.10.3-1 4.7.3-2", "3.10.3-1 4.7.3-2", f"UNSUBSCRIBE of a filter with {name}",
           A.connects(), A.sends(unsubscribe(bad)), A.ends(BAD))
for bad in ("~/#/a", "~/a#", "#/~", "~/##"):
    T.both("4.7.1-1", "4.7.1-2", f"the filter {bad}",
           A.connects(), A.sends(subscribe(bad)), no_filter(A))
for bad in ("~/a+", "~/+a", "~+", "~/++"):
    T.both("4.7.1-2", "4.7.1-3", f"the filter {bad}",
           A.connects(), A.sends(subscribe(bad)), no_filter(A))
T.both("4.7.3-1", "4.7.3-1", "a filter without a character",
       A.connects(), A.sends(subscribe("")), no_filter(A))
T.v5("3.9.2-1 3.9.2-2", "SUBACK fits into the client's maximum packet size",
     A.connects(maximum_packet_size=32), A.sends(subscribe("$SYS/#", "rats/dev2/#", "~/a")),
     A.hears(suback(1, NOT_HERE, NOT_HERE, 0)))
T.v5("3.11.2-1 3.11.2-2 3.11.3-2", "UNSUBACK fits into the client's maximum packet size",
     A.connects(maximum_packet_size=32), A.sends(unsubscribe("$SYS/#", "~/a", "~/b")),
     A.hears(unsuback(1, (0x11, 0x87, 0x8f), 0x11, 0x11)))
T.v5("3.8.4-1", "a user property in SUBSCRIBE and UNSUBSCRIBE is taken",
     A.connects(), A.subscribes("~/a", user_property=[("a", "b")]),
     A.sends(unsubscribe("~/a", user_property=[("a", "b")])), A.hears(unsuback(1, 0)))

# --- which topics -----------------------------------------------------------------------------------

MATCHES = [
    ("~/sport/#", ["~/sport", "~/sport/a", "~/sport/a/b"], ["~/sports", "~"]),
    ("~/+", ["~/a", "~/"], ["~/a/b", "~"]),
    ("~/+/b", ["~/a/b", "~//b"], ["~/b", "~/a/a/b", "~/a/c"]),
    ("~/+/+", ["~/a/b", "~//"], ["~/a", "~/a/b/c"]),
    ("+/~", ["x/~", "/~"], ["~", "x/y/~"]),
    ("/+/~", ["/x/~"], ["x/~", "/x/y/~"]),
    ("~/a/+/c/#", ["~/a/b/c", "~/a/b/c/d/e"], ["~/a/c", "~/a/b/b/c"]),
    ("~/+/#", ["~/a", "~/a/b"], ["~"]),
    ("~", ["~"], ["~/", "/~", "~/a"]),
]
for filter, yes, no in MATCHES:
    T.both("4.7.0-1 4.7.1-1 4.7.1-2 3.3.2-3", "4.7.1-1 4.7.1-2 4.7.1-3 3.3.2-3 3.8.3-2",
           f"what {filter} takes and what not",
           B.connects(), B.subscribes(filter), A.connects(),
           *[A.publishes(t, t, qos=0) for t in [*no, *yes, *no]],
           B.hears(*[pub(t, t) for t in yes]), B.quiet())
T.both("4.7.1-1 3.3.2-3", "4.7.1-2 3.3.2-3", "# takes all topics of its own device, and no other's",
       B.connects(), B.subscribes("#"), A.connects(), A.publishes("~", "1"), A.publishes("~/a/b", "2"),
       B.hears(pub("~", "1"), pub("~/a/b", "2")), B.quiet())
T.both("3.3.2-3", "3.3.2-3", "who subscribes with the device's name gets topics with it",
       B.connects(), B.subscribes("%d/~/a"), A.connects(), A.publishes("~/a", "1"),
       A.publishes("%d/~/a", "2"), B.hears(pub("%d/~/a", "1"), pub("%d/~/a", "2")), B.quiet())
T.both("4.7.2-1", "4.7.2-1", "a wildcard at the beginning does not take what begins with $",
       B.connects(), B.subscribes("#", "+/~", "+"), A.connects(), A.sends(publish("$SYS/~", qos=0)),
       A.sends(publish("$/~", qos=0)), A.sends(publish("$~", qos=0)), B.quiet())
T.both("4.7.3-4 3.10.4-1", "4.7.3-4", "topics are compared as they are",
       B.connects(), B.subscribes("~/caf\u00e9"), A.connects(),
       *[A.publishes(t, qos=0) for t in ("~/cafe\u0301", "~/Caf\u00e9", "~/caf\u00e9/", "~//caf\u00e9",
                                        "~/caf\u00e9 ", "~/\ufeffcaf\u00e9", "~/cafe", "~/./caf\u00e9")],
       A.publishes("~/caf\u00e9", "this"), B.hears(pub("~/caf\u00e9", "this")), B.quiet())
T.both("1.5.4-3 4.7.3-4", "1.5.3-3 4.7.3-4", "a byte order mark is a character like others",
       B.connects(), B.subscribes("~/\ufeff/+", "~/x/\ufeff"), A.connects(), A.publishes("~/\ufeff/a"),
       A.publishes("~/x/\ufeff"), A.publishes("~/x/"), B.hears(pub("~/\ufeff/a"), pub("~/x/\ufeff")),
       B.quiet())
T.both("1.5.4-3", "1.5.3-3", "a byte order mark at the beginning of a topic stays",
       B.connects(), B.subscribes("\ufeff~"), A.connects(), A.publishes("\ufeff~"), A.publishes("~"),
       B.hears(pub("\ufeff~")), B.quiet())

# --- UNSUBSCRIBE --------------------------------------------------------------------------------------

T.both("3.10.4-4 3.10.4-5 2.2.1-6 3.10.4-2 3.11.3-2", "3.10.4-4 2.3.1-7 3.10.4-2",
       "UNSUBSCRIBE is answered with UNSUBACK, and nothing new comes",
       B.connects(), B.subscribes("~/a"), A.connects(), A.publishes("~/a", "1"), B.hears(pub("~/a", "1")),
       B.sends(unsubscribe("~/a", id=500)), B.hears(unsuback(500, 0)), A.publishes("~/a", "2"), B.quiet())
T.both("3.10.4-5 3.11.3-2", "3.10.4-5", "UNSUBSCRIBE of what was never subscribed is answered",
       A.connects(), A.sends(unsubscribe("~/a", id=9)), A.hears(unsuback(9, 0x11)), A.quiet())
T.both("3.10.4-6 3.11.3-1", "3.10.4-6", "several filters: one UNSUBACK, in their order",
       B.connects(), B.subscribes("~/a", "~/b", "~/c"),
       B.sends(unsubscribe("~/c", "~/x", "~/a", id=9)), B.hears(unsuback(9, 0, 0x11, 0)), A.connects(),
       *[A.publishes(t) for t in ("~/a", "~/b", "~/c")], B.hears(pub("~/b")), B.quiet())
T.both("3.10.4-1", "3.10.4-1", "filters are compared, not matched",
       B.connects(), B.subscribes("~/#", "~/a"),
       B.sends(unsubscribe("~/b", id=2)), B.hears(unsuback(2, 0x11)),
       B.sends(unsubscribe("~/+", id=3)), B.hears(unsuback(3, 0x11)),
       B.sends(unsubscribe("~/A", id=4)), B.hears(unsuback(4, 0x11)), A.connects(), A.publishes("~/b"),
       B.hears(pub("~/b")), B.sends(unsubscribe("~/#", id=5)), B.hears(unsuback(5, 0)),
       A.publishes("~/b"), A.publishes("~/a"), B.hears(pub("~/a")), B.quiet())
T.both("3.10.4-3", "3.10.4-3", "a delivery of QoS 1 that has begun is completed",
       B.connects(), B.subscribes("~/a", qos=1), A.connects(), A.publishes("~/a"),
       B.hears(pub("~/a", qos=1)), B.sends(unsubscribe("~/a")), B.hears(unsuback(1, 0)),
       B.answers(send_puback), B.quiet())
T.both("3.10.4-3", "3.10.4-3", "a delivery of QoS 2 that has begun is completed",
       B.connects(), B.subscribes("~/a", qos=2), A.connects(), A.publishes("~/a", qos=2),
       B.hears(pub("~/a", qos=2)), B.sends(unsubscribe("~/a")), B.hears(unsuback(1, 0)),
       B.answers(send_pubrec), B.hears(PUBREL), B.answers(send_pubcomp), B.quiet())
T.both("3.10.3-2", "3.10.3-2", "UNSUBSCRIBE without a filter",
       A.connects(), A.sends(unsubscribe()), A.ends(0x82))
T.both("2.2.1-3", "2.3.1-1", "UNSUBSCRIBE with packet id 0",
       A.connects(), A.sends(unsubscribe("~/a", id=0)), A.ends(BAD))
for first in (0xa0, 0xa3, 0xaa):
    T.both("3.10.1-1 2.1.3-1", "3.10.1-1 2.2.2-2", f"UNSUBSCRIBE with first byte {first:#x}",
           A.connects(), A.sends(unsubscribe("~/a", first=first)), A.ends(0x81))

# --- shared subscriptions -----------------------------------------------------------------------------

GROUP = "$share/g/~/#"


def one_of(*expected, qos=0):
    """Each of these comes once, to B or to C."""
    def look(run):
        came = []
        for name in ("B", "C"):
            c = run.connections[name]
            c.send(PING)
            while (p := c.packet(4)) and p["type"] == "PUBLISH":
                came.append((p["payload"].decode(), p["qos"]))
                if p["qos"] == 1:
                    c.send(send_puback(p["id"])(c))
            if not p or p["type"] != "PINGRESP":
                raise Failure(f"{name} waits for a message or a pong; there comes {p}")
        if sorted(came) != sorted((e, qos) for e in expected):
            raise Failure(f"B and C together should hear {expected} with QoS {qos}; they hear {came}")
    return Step(f"B and C together hear {', '.join(expected)}", look)


NUMBERS = [str(i) for i in range(8)]
T.v5("4.8.2-1", "shared: each message goes to one of the group",
     B.connects(), B.subscribes(GROUP, qos=1), C.connects(), C.subscribes(GROUP, qos=1), A.connects(),
     *[A.publishes("~/a", n) for n in NUMBERS], one_of(*NUMBERS, qos=1), B.quiet(), C.quiet())
T.v5("4.8.2-1", "shared: each group has its own copy",
     B.connects(), B.subscribes("$share/g/~/a"), C.connects(), C.subscribes("$share/h/~/a"),
     A.connects(), A.publishes("~/a", "1"), B.hears(pub("~/a", "1")), C.hears(pub("~/a", "1")))
T.v5("4.8.2-1", "shared: who subscribed by itself gets all",
     B.connects(), B.subscribes(GROUP), C.connects(), C.subscribes("~/#"), A.connects(),
     *[A.publishes("~/a", n) for n in NUMBERS], B.hears(*[pub("~/a", n) for n in NUMBERS]),
     C.hears(*[pub("~/a", n) for n in NUMBERS]), B.quiet(), C.quiet())
for p, s in ((1, 0), (2, 1), (0, 2)):
    T.v5("4.8.2-3", f"shared: published with QoS {p}, granted {s}",
         B.connects(), B.subscribes(GROUP, qos=s), A.connects(), A.publishes("~/a", qos=p),
         B.takes(pub("~/a", qos=min(p, s))))
for bad in ("$share//~", "$share/g", "$share/g/", "$share/+/~", "$share/#", "$share/#/~", "$share/g+/~",
            "$share/g#/~", "$share/"):
    T.v5("4.8.2-1 4.8.2-2", f"the shared filter {bad}",
         A.connects(), A.sends(subscribe(bad)), no_filter(A))
T.v5("3.8.3-4", "shared: no local is a protocol error",
     A.connects(), A.sends(subscribe(GROUP, options=0x04)), A.ends(0x82))
T.v5("4.8.2-1", "shared: no retained messages",
     A.connects(), A.publishes("~/r", "kept", retain=1), B.connects(), B.subscribes(GROUP), B.quiet())
T.v5("3.10.4-2 4.8.2-1", "shared: after UNSUBSCRIBE the others get all",
     B.connects(), B.subscribes(GROUP), C.connects(), C.subscribes(GROUP),
     B.sends(unsubscribe(GROUP)), B.hears(unsuback(1, 0)), A.connects(),
     *[A.publishes("~/a", n) for n in NUMBERS], C.hears(*[pub("~/a", n) for n in NUMBERS]), B.quiet())
T.v5("3.3.4-3 4.8.2-1", "shared: with its identifier",
     B.connects(), B.subscribes(GROUP, subscription_id=9), A.connects(), A.publishes("~/a"),
     B.hears(pub("~/a", subscription_id=[9])))
T.v5("4.8.2-1", "shared: who has left gets nothing, the others all",
     B.connects(), B.subscribes(GROUP), C.connects(), C.subscribes(GROUP), B.leaves(), A.connects(),
     *[A.publishes("~/a", n) for n in NUMBERS], C.hears(*[pub("~/a", n) for n in NUMBERS]))
LONG = dict(session_expiry=60)
T.v5("4.8.2-4", "shared: QoS 2 that has begun is completed when that client is back",
     B.connects(**LONG), B.subscribes(GROUP, qos=2), A.connects(), A.publishes("~/a", "1", qos=2),
     B.hears(pub("~/a", "1", qos=2)), C.connects(), C.subscribes(GROUP, qos=2), B.drops(),
     C.quiet(), B.connects(clean=0, present=1, **LONG), B.takes(pub("~/a", "1", qos=2, dup=1)),
     C.quiet(), B.quiet())
T.v5("4.8.2-5", "shared: QoS 2 that has begun goes to no other where that session ends",
     B.connects(), B.subscribes(GROUP, qos=2), A.connects(), A.publishes("~/a", "1", qos=2),
     B.hears(pub("~/a", "1", qos=2)), C.connects(), C.subscribes(GROUP, qos=2), B.drops(), C.quiet(),
     B.connects(), B.quiet(), C.quiet())
T.v5("4.8.2-6 4.4.0-2", "shared: what a client refuses goes to no other",
     B.connects(), B.subscribes(GROUP, qos=2), A.connects(), A.publishes("~/a", "1", qos=1),
     A.publishes("~/a", "2", qos=2), B.hears(pub("~/a", "1", qos=1), pub("~/a", "2", qos=2)),
     C.connects(), C.subscribes(GROUP, qos=2), B.answers(send_puback, back=2, code=0x80),
     B.answers(send_pubrec, code=0x97), B.quiet(), C.quiet())
T.v5("4.8.2-1", "shared: the order of one client's messages within the group's member",
     B.connects(), B.subscribes(GROUP, qos=1), A.connects(), *[A.publishes("~/a", n) for n in NUMBERS],
     B.takes(*[pub("~/a", n, qos=1) for n in NUMBERS]))
