# SPDX-License-Identifier: GPL-3.0-or-later
"""Sessions that outlive their connection: what they keep, what is sent again, how they end; and the
same where the daemon is killed meanwhile."""

from exchange import (A, A2, B, C, Step, Table, pub, puback, pubcomp, pubrec, pubrel, restart,
                      unsuback, wait)
from wire import publish, send_puback, send_pubcomp, send_pubrec, send_pubrel, unsubscribe

T = Table()
CASES = T.cases
PUBREL = {"type": "PUBREL", "code": 0}


def stays(who, present=0, **more):
    """A session that outlives the connection: in 3.1.1 by clean session 0."""
    return who.connects(clean=0, present=present, **{"session_expiry": 60, **more})


# --- how they begin and end -----------------------------------------------------------------------------

T.both("3.1.2-6 3.1.2-5 3.2.2-3 3.1.2-23 3.1.4-4 3.1.3-2", "3.1.2-4 3.2.2-2 3.2.2-3 3.1.4-3 3.1.3-2",
       "session present: not at first, then it is",
       stays(A), A.leaves(), stays(A, 1), A.drops(), stays(A, 1), A.quiet())
T.both("3.1.2-4 3.2.2-2 3.1.4-4", "3.1.2-6 3.2.2-1 3.1.4-3", "clean start ends the session that was",
       stays(A), A.subscribes("~/a", qos=1), A.leaves(), B.connects(), B.publishes("~/a"), A.connects(),
       A.quiet(), B.publishes("~/a"), A.quiet(), A.leaves(), stays(A, 0))
T.both("3.1.2-4", "3.1.2-6", "clean start ends a session that is connected",
       stays(A), A.subscribes("~/a"), A2.connects(), A.ends(0x8e), B.connects(), B.publishes("~/a"),
       A2.quiet())
T.v5("4.1.0-2 3.2.2-3", "without an expiry the session ends with the connection",
     A.connects(clean=0), A.subscribes("~/a", qos=1), A.leaves(), stays(A, 0), B.connects(),
     B.publishes("~/a"), A.quiet())
T.v311("3.1.2-6 4.1.0-2", "with clean session 1 the session ends with the connection",
       A.connects(), A.subscribes("~/a", qos=1), A.drops(), B.connects(), B.publishes("~/a"),
       stays(A, 0), A.quiet())
T.v5("4.1.0-2 3.2.2-3", "the session ends when its expiry has passed",
     A.connects(clean=0, session_expiry=1), A.subscribes("~/a", qos=1), A.drops(), wait(2.5),
     A.connects(clean=0, session_expiry=1, present=0), A.quiet())
T.v5("3.1.2-23", "the session is there while its expiry has not passed",
     A.connects(clean=0, session_expiry=4), A.drops(), wait(1.5),
     A.connects(clean=0, session_expiry=4, present=1))
T.v5("3.1.2-23", "the expiry counts from the end of the connection",
     A.connects(clean=0, session_expiry=2), wait(2.5), A.drops(),
     A.connects(clean=0, session_expiry=2, present=1))
T.both("4.1.0-1", "4.1.0-1 4.1.0-2", "the session is kept while its connection is open",
       A.connects(clean=0, session_expiry=1), A.subscribes("~/a"), wait(2.2), B.connects(),
       B.publishes("~/a"), A.hears(pub("~/a")))
T.v5("3.1.2-23 4.1.0-2", "DISCONNECT may end the session",
     stays(A), A.leaves(session_expiry=0), stays(A, 0))
T.v5("3.1.2-23", "DISCONNECT may lengthen the session",
     A.connects(clean=0, session_expiry=1), A.leaves(session_expiry=30), wait(2), stays(A, 1))
T.v5("3.1.2-23", "a session without end is granted as long as the server will, and told so",
     A.connects(clean=0, session_expiry=0xffffffff,
                expect=dict(session_expiry=lambda v: v is None or v > 60)), A.leaves(),
     stays(A, 1))
T.both("3.1.3-2", "3.1.3-2", "each client id has its own session",
       stays(A), A.subscribes("~/a", qos=1), stays(B), B.subscribes("~/b", qos=1), A.leaves(), B.leaves(),
       C.connects(), C.publishes("~/a"), C.publishes("~/b"), stays(B, 1), B.takes(pub("~/b", qos=1)),
       B.quiet(), stays(A, 1), A.takes(pub("~/a", qos=1)), A.quiet())
T.both("3.1.2-5 3.1.4-3 4.1.0-1", "3.1.2-4 3.1.4-2", "who takes over goes on with the session",
       stays(A), A.subscribes("~/a", qos=1), stays(A2, 1), A.ends(0x8e), B.connects(),
       B.publishes("~/a"), A2.takes(pub("~/a", qos=1)), A2.quiet())

# --- what they keep -------------------------------------------------------------------------------------

OFFLINE = [pub("~/a", str(i), qos=1) for i in range(5)]
T.both("4.5.0-1 3.1.2-23 3.1.2-5", "3.1.2-5 4.5.0-1 3.1.2-4", "messages of QoS 1 wait for who is away, in order",
       stays(A), A.subscribes("~/#", qos=1), A.drops(), B.connects(),
       *[B.publishes("~/a", str(i)) for i in range(5)], stays(A, 1), A.takes(*OFFLINE), A.quiet(),
       A.leaves(), stays(A, 1), A.quiet())
T.both("4.5.0-1 3.1.2-5", "3.1.2-5 4.5.0-1", "messages of QoS 2 wait for who is away",
       stays(A), A.subscribes("~/#", qos=2), A.drops(), B.connects(), B.publishes("~/a", "1", qos=2),
       B.publishes("~/a", "2", qos=1), stays(A, 1),
       A.takes(pub("~/a", "1", qos=2), pub("~/a", "2", qos=1)), A.quiet())
T.both("3.1.2-5", "3.1.2-5", "after UNSUBSCRIBE nothing waits",
       stays(A), A.subscribes("~/a", "~/b", qos=1), A.sends(unsubscribe("~/a")),
       A.hears(unsuback(1, 0)), A.drops(), B.connects(), B.publishes("~/a"), B.publishes("~/b"),
       stays(A, 1), A.takes(pub("~/b", qos=1)), A.quiet())
T.both("3.1.2-5", "3.1.2-4", "subscriptions are there without SUBSCRIBE",
       stays(A), A.subscribes("~/a", qos=1), A.leaves(), stays(A, 1), B.connects(), B.publishes("~/a"),
       A.takes(pub("~/a", qos=1)), A.quiet())
T.v5("3.1.2-5 3.3.4-3 3.3.1-13 3.8.3-3", "subscriptions keep identifier and options",
     stays(A), A.subscribes("~/a", options=0x0d, subscription_id=7), A.leaves(), stays(A, 1),
     A.publishes("~/a", "own"), A.quiet(), B.connects(), B.publishes("~/a", retain=1),
     A.takes(pub("~/a", qos=1, retain=1, subscription_id=[7])), A.quiet())
T.v5("3.3.2-5", "a message that expires meanwhile is not delivered",
     stays(A), A.subscribes("~/a", qos=1), A.drops(), B.connects(),
     B.publishes("~/a", "short", message_expiry=1), B.publishes("~/a", "long", message_expiry=100),
     wait(2.2), stays(A, 1),
     A.takes(pub("~/a", "long", qos=1, message_expiry=lambda v: 90 <= v <= 98)), A.quiet())
T.v5("3.3.2-17 3.3.2-18 3.3.2-15 3.3.2-16 3.3.2-20 3.3.2-4", "messages that wait keep their properties",
     stays(A), A.subscribes("~/a", qos=1), A.drops(), B.connects(),
     B.publishes("~/a", payload_format=1, content_type="t", response_topic="r", correlation_data=b"\0",
                 user_property=[("b", "1"), ("a", "2")]), stays(A, 1),
     A.takes(pub("~/a", qos=1, payload_format=1, content_type="t", response_topic="r",
                 correlation_data=b"\0", user_property=[("b", "1"), ("a", "2")])))
T.v5("3.3.4-9 4.9.0-1", "what waited keeps within the receive maximum of now",
     stays(A), A.subscribes("~/#", qos=1), A.drops(), B.connects(),
     *[B.publishes("~/a", str(i)) for i in range(5)], stays(A, 1, receive_maximum=2),
     A.hears(OFFLINE[0], OFFLINE[1]), A.quiet(), A.answers(send_puback, back=2), A.hears(OFFLINE[2]),
     A.answers(send_puback, back=2), A.answers(send_puback), A.hears(OFFLINE[3], OFFLINE[4]))
T.v5("3.1.2-24 3.1.2-25", "what waited keeps within the maximum packet size of now",
     stays(A), A.subscribes("~/#", qos=1), A.drops(), B.connects(), B.publishes("~/a", b"y" * 500),
     B.publishes("~/a", "small"), stays(A, 1, maximum_packet_size=100),
     A.takes(pub("~/a", "small", qos=1)), A.quiet())

# --- what is sent again ---------------------------------------------------------------------------------

T.both("4.4.0-1 3.3.1-1 4.3.2-3 2.2.1-4", "4.4.0-1 3.3.1-1 2.3.1-4 4.3.2-1 4.6.0-1",
       "QoS 1 without PUBACK comes again, with DUP and its packet id, in order",
       stays(A), A.subscribes("~/#", qos=1), B.connects(), *[B.publishes("~/a", str(i)) for i in (1, 2, 3)],
       A.hears(*[pub("~/a", str(i), qos=1) for i in (1, 2, 3)]), A.answers(send_puback, back=2),
       A.quiet(), A.drops(), Step("its packet ids are kept in mind", lambda run: keep_ids(run)),
       stays(A, 1), A.hears(pub("~/a", "1", qos=1, dup=1), pub("~/a", "3", qos=1, dup=1)), A.quiet(),
       Step("they are the same", lambda run: same_ids(run, (0, 2))))
T.both("4.4.0-1", "4.4.0-1", "nothing comes again while the connection is open",
       stays(A), A.subscribes("~/#", qos=1), B.connects(), B.publishes("~/a"), A.hears(pub("~/a", qos=1)),
       wait(3), A.quiet())
T.both("4.4.0-1 3.3.1-1 4.3.3-3", "4.4.0-1 3.3.1-1 4.3.3-1",
       "QoS 2 without PUBREC comes again, with DUP and its packet id",
       stays(A), A.subscribes("~/#", qos=2), B.connects(), B.publishes("~/a", qos=2),
       A.hears(pub("~/a", qos=2)), A.drops(), Step("its packet id is kept in mind", lambda run:
                                                   keep_ids(run)),
       stays(A, 1), A.hears(pub("~/a", qos=2, dup=1)), Step("it is the same", lambda run:
                                                            same_ids(run, (0,))),
       A.answers(send_pubrec), A.hears(PUBREL), A.answers(send_pubcomp), A.quiet())
T.both("4.4.0-1 4.3.3-5 4.3.3-6", "4.4.0-1 4.3.3-1",
       "QoS 2 without PUBCOMP: PUBREL comes again, the message not",
       stays(A), A.subscribes("~/#", qos=2), B.connects(), B.publishes("~/a", qos=2),
       A.hears(pub("~/a", qos=2)), A.answers(send_pubrec), A.hears(PUBREL), A.drops(), stays(A, 1),
       A.hears(PUBREL), A.answers(send_pubcomp), A.quiet(), A.leaves(), stays(A, 1), A.quiet())
T.both("4.3.3-10 4.4.0-1", "4.3.3-2 4.4.0-1", "QoS 2 of the client, sent again after a reconnect, is one message",
       B.connects(), B.subscribes("~/#", qos=2), stays(A), A.sends(publish("~/a", "1", qos=2, id=6)),
       A.hears(pubrec(6)), A.drops(), stays(A, 1), A.sends(publish("~/a", "1", qos=2, id=6, dup=1)),
       A.hears(pubrec(6)), A.sends(send_pubrel(6)), A.hears(pubcomp(6)), B.takes(pub("~/a", "1", qos=2)),
       B.quiet())
T.both("4.3.3-11 4.4.0-1", "4.3.3-2 4.4.0-1", "PUBREL of the client after a reconnect is answered",
       B.connects(), B.subscribes("~/#", qos=2), stays(A), A.sends(publish("~/a", "1", qos=2, id=6)),
       A.hears(pubrec(6)), A.drops(), stays(A, 1), A.sends(send_pubrel(6)), A.hears(pubcomp(6)),
       B.takes(pub("~/a", "1", qos=2)), B.quiet())
T.both("4.3.3-12", "4.3.3-2", "after clean start a packet id of QoS 2 is a new message",
       B.connects(), B.subscribes("~/#", qos=2), stays(A), A.sends(publish("~/a", "1", qos=2, id=6)),
       A.hears(pubrec(6)), A.drops(), A.connects(), A.publishes("~/a", "2", qos=2, id=6),
       Step("B takes the second, perhaps the first before", lambda run: second(run)), B.quiet())
T.v5("4.4.0-2", "a PUBACK that refuses is an acknowledgement",
     stays(A), A.subscribes("~/#", qos=1), B.connects(), B.publishes("~/a"), A.hears(pub("~/a", qos=1)),
     A.answers(send_puback, code=0x80), A.quiet(), A.drops(), stays(A, 1), A.quiet())
T.v5("4.4.0-2", "a PUBREC that refuses is an acknowledgement, after a reconnect too",
     stays(A), A.subscribes("~/#", qos=2), B.connects(), B.publishes("~/a", qos=2),
     A.hears(pub("~/a", qos=2)), A.answers(send_pubrec, code=0x80), A.quiet(), A.drops(), stays(A, 1),
     A.quiet())
T.v5("4.3.3-7", "QoS 2 that was sent does not expire",
     stays(A), A.subscribes("~/#", qos=2), B.connects(), B.publishes("~/a", qos=2, message_expiry=1),
     A.hears(pub("~/a", qos=2, message_expiry=(0, 1))), A.drops(), wait(2), stays(A, 1),
     A.takes(pub("~/a", qos=2, dup=1, message_expiry=lambda v: v in (None, 0, 1))), A.quiet())
T.both("4.3.2-1 2.2.1-4 4.4.0-1", "4.3.2-1 2.3.1-4", "new messages take other packet ids than what comes again",
       stays(A), A.subscribes("~/#", qos=1), B.connects(), B.publishes("~/a", "1"),
       A.hears(pub("~/a", "1", qos=1)), A.drops(), B.publishes("~/a", "2"), stays(A, 1),
       A.hears(pub("~/a", "1", qos=1, dup=1), pub("~/a", "2", qos=1)), A.quiet())
T.both("4.6.0-5 4.6.0-6 4.4.0-1", "4.6.0-1 4.6.0-6", "what comes again comes before what waited",
       stays(A), A.subscribes("~/#", qos=1), B.connects(), B.publishes("~/a", "1"), B.publishes("~/a", "2"),
       A.hears(pub("~/a", "1", qos=1), pub("~/a", "2", qos=1)), A.drops(), B.publishes("~/a", "3"),
       stays(A, 1), A.takes(pub("~/a", "1", qos=1, dup=1), pub("~/a", "2", qos=1, dup=1),
                            pub("~/a", "3", qos=1)), A.quiet())


def second(run):
    """Whether the first, never released, is delivered onward, is the server's affair."""
    c = run.connections["B"]
    first, then = pub("~/a", "1", qos=2), pub("~/a", "2", qos=2)
    p = B.one_of(c, [first, then])
    c.send(send_pubrec(p["id"])(c))
    if p["payload"] == b"1":
        after = B.one_of(c, [then, PUBREL])
        if after["type"] == "PUBREL":
            c.send(send_pubcomp(p["id"])(c))
            B.takes(then).do(run)
            return
        c.send(send_pubrec(after["id"])(c))
        B.expect(c, [PUBREL, PUBREL])
    else:
        B.expect(c, [PUBREL])
    for number in {q["id"] for q in c.heard if q["type"] == "PUBREL"}:
        c.send(send_pubcomp(number)(c))


def keep_ids(run):
    run.notes["ids"] = [p["id"] for p in run.connections["A"].heard if p["type"] == "PUBLISH"]


def same_ids(run, which):
    now = [p["id"] for p in run.connections["A"].heard if p["type"] == "PUBLISH"]
    before = [run.notes["ids"][i] for i in which]
    assert now == before, f"the packet ids were {before} and are {now}"


# --- the daemon is killed -------------------------------------------------------------------------------

T.both("3.1.2-23 3.1.2-5 4.5.0-1", "3.1.2-4 3.1.2-5 4.1.0-1", "killed: session, subscription and what waited are there",
       stays(A), A.subscribes("~/#", qos=1), A.drops(), B.connects(), B.publishes("~/a", "1"),
       B.publishes("~/a", "2"), restart(), stays(A, 1),
       A.takes(pub("~/a", "1", qos=1), pub("~/a", "2", qos=1)), A.quiet(), B.connects(),
       B.publishes("~/a", "3"), A.takes(pub("~/a", "3", qos=1)))
T.both("4.4.0-1 3.3.1-1", "4.4.0-1 3.3.1-1", "killed: what was on its way to a client comes again with DUP",
       stays(A), A.subscribes("~/#", qos=2), B.connects(), B.publishes("~/a", "1", qos=1),
       B.publishes("~/a", "2", qos=2), A.hears(pub("~/a", "1", qos=1), pub("~/a", "2", qos=2)), A.quiet(),
       restart(), stays(A, 1), A.takes(pub("~/a", "1", qos=1, dup=1), pub("~/a", "2", qos=2, dup=1)),
       A.quiet())
# The server cannot know how far a connection that broke with it had come: DUP or not.
T.v5("4.4.0-1 3.3.4-9", "killed: what waited behind the receive maximum comes after what was sent",
     stays(A, receive_maximum=1), A.subscribes("~/#", qos=1), B.connects(), B.publishes("~/a", "1"),
     B.publishes("~/a", "2"), A.hears(pub("~/a", "1", qos=1)), A.quiet(), restart(),
     stays(A, 1, receive_maximum=1),
     A.takes(pub("~/a", "1", qos=1, dup=1), pub("~/a", "2", qos=1, dup=(0, 1))), A.quiet())
T.v5("3.3.2-5 3.3.2-6", "killed: a message that expires while it waits is not delivered",
     stays(A), A.subscribes("~/#", qos=1), A.drops(), B.connects(),
     B.publishes("~/a", "short", message_expiry=1), B.publishes("~/a", "long", message_expiry=300),
     restart(), wait(1.5), stays(A, 1),
     A.takes(pub("~/a", "long", qos=1, message_expiry=lambda v: 200 <= v <= 299)), A.quiet())
T.both("4.4.0-1 4.3.3-5 4.3.3-6", "4.4.0-1 4.3.3-1", "killed: between PUBREC and PUBCOMP: PUBREL comes again",
       stays(A), A.subscribes("~/#", qos=2), B.connects(), B.publishes("~/a", qos=2),
       A.hears(pub("~/a", qos=2)), A.answers(send_pubrec), A.hears(PUBREL), A.quiet(), restart(),
       stays(A, 1), A.hears(PUBREL), A.answers(send_pubcomp), A.quiet())
T.both("4.3.3-10", "4.3.3-2", "killed: a client's QoS 2 that is sent again is one message",
       stays(B), B.subscribes("~/#", qos=2), stays(A), A.sends(publish("~/a", "1", qos=2, id=6)),
       A.hears(pubrec(6)), restart(), stays(B, 1), stays(A, 1),
       A.sends(publish("~/a", "1", qos=2, id=6, dup=1)), A.hears(pubrec(6)), A.sends(send_pubrel(6)),
       A.hears(pubcomp(6)), Step("B takes it once", lambda run: once(run)), B.quiet())
T.both("3.3.1-5", "3.3.1-5 3.1.2-7", "killed: retained messages are there",
       A.connects(), A.publishes("~/r", "kept", retain=1, qos=1), restart(), B.connects(),
       B.subscribes("~/r", qos=1), B.takes(pub("~/r", "kept", qos=1, retain=1)))
T.both("3.3.1-6", "3.3.1-10 3.3.1-11", "killed: a retained message that was taken away is not there",
       A.connects(), A.publishes("~/r", "kept", retain=1, qos=1), A.publishes("~/r", b"", retain=1, qos=1),
       restart(), B.connects(), B.subscribes("~/r"), B.quiet())
T.both("3.1.2-4 3.10.4-2", "3.1.2-6 3.10.4-2", "killed: what had ended does not come back",
       stays(A), A.subscribes("~/a", "~/b", qos=1), A.sends(unsubscribe("~/a")), A.hears(unsuback(1, 0)),
       stays(B), B.subscribes("~/#", qos=1), B.leaves(), B.connects(), B.leaves(), restart(),
       stays(B, 0), stays(A, 1), C.connects(), C.publishes("~/a"), C.publishes("~/b"),
       A.takes(pub("~/b", qos=1)), A.quiet(), B.quiet())
T.v5("4.1.0-2", "killed: the expiry goes on",
     A.connects(clean=0, session_expiry=2), A.drops(), restart(), wait(2.5),
     A.connects(clean=0, session_expiry=2, present=0))
T.both("4.3.2-4", "4.3.2-2", "killed: what was acknowledged is not lost",
       stays(A), A.subscribes("~/#", qos=1), A.drops(), B.connects(),
       B.sends_together(*[publish("~/a", str(i), qos=1, id=i) for i in range(1, 21)]),
       B.hears(*[puback(i) for i in range(1, 21)]), restart(), stays(A, 1),
       A.takes(*[pub("~/a", str(i), qos=1) for i in range(1, 21)]), A.quiet())


def once(run):
    """Whether it had begun before the daemon was killed is the server's affair; it comes to an end once."""
    c = run.connections["B"]
    p = c.packet(4)
    assert p and p["type"] == "PUBLISH" and p["qos"] == 2 and p["payload"] == b"1", f"there comes {p}"
    c.send(send_pubrec(p["id"])(c))
    B.expect(c, [pubrel(p["id"])])
    c.send(send_pubcomp(p["id"])(c))
