# SPDX-License-Identifier: GPL-3.0-or-later
"""CONNECT, CONNACK, wills, keep-alive, DISCONNECT."""

import time

from exchange import (A, A2, B, C, Failure, Step, Table, connack, pub, puback, suback, wait)
from flaws import SILENT, WILL_OUTLIVES
from wire import (PING, auth, binary, connect, disconnect, publish, raw, send_puback, subscribe,
                  unsubscribe, varint)

T = Table()
CASES = T.cases
BAD = (0x81, 0x82)


# --- who may, and what is said -------------------------------------------------------------------------

T.both("3.1.4-5 3.2.0-1 3.2.2-1 3.2.2-8 3.1.3-5", "3.1.4-4 3.2.0-1 3.1.3-5",
       "CONNECT is acknowledged", A.connects(), A.quiet())
T.both("3.2.0-2 3.2.0-1", "3.2.0-1", "what comes together with CONNECT is answered after CONNACK",
       A.opens(), A.sends_together(connect(), subscribe("~/a", id=7, qos=1), PING),
       A.hears(connack(), suback(7, 1), {"type": "PINGRESP"}))
for what, packet in (("PUBLISH", publish("~/a")), ("SUBSCRIBE", subscribe("~/a")),
                     ("UNSUBSCRIBE", unsubscribe("~/a")), ("PINGREQ", PING),
                     ("DISCONNECT", disconnect()), ("PUBACK", send_puback(1))):
    T.both("3.1.0-1 3.14.0-1 4.13.1-1", "3.1.0-1 4.8.0-1", f"{what} before CONNECT ends it",
           A.opens(), A.sends(packet), A.closed())
T.v5("3.1.0-1 3.14.0-1", "AUTH before CONNECT ends it", A.opens(), A.sends(auth()), A.closed())
T.both("3.1.0-2 4.13.1-1 3.2.0-2", "3.1.0-2 4.8.0-1", "a second CONNECT ends it",
       A.connects(), A.sends(connect()), A.ends(0x82))
for name in ("mqtt", "MQTX", "MQT", "", "MQTTT"):
    T.both("3.1.2-1", "3.1.2-1", f"protocol name \"{name}\"",
           A.opens(), A.sends(connect(name=name)), A.rejected(0x81, 0x82, 0x84))
T.v5("3.1.2-2 3.2.2-7 3.2.2-6", "protocol version 6",
     A.opens(), A.sends(connect(level=6)), A.refused(0x84))
for level in (3, 0, 2):
    T.v311("3.1.2-2 3.2.2-5 3.2.2-4", f"protocol level {level}",
           A.opens(), A.sends(connect(level=level)), A.refused(None, 1))
T.both("3.1.2-3 3.1.4-1", "3.1.2-3 3.1.4-1", "the reserved flag of CONNECT",
       A.opens(), A.sends(connect(flags=3)), A.rejected())
T.both("3.1.3-8 3.2.2-7 3.2.2-6 4.13.2-1 3.1.4-2", "3.1.3-9 3.2.2-5 3.2.2-4",
       "another device's client id",
       A.opens(), A.sends(connect("dev2")), A.refused(0x85, 2))
T.both("3.1.3-8 3.1.4-2", "3.1.3-9", "a client id that begins like the device's own",
       A.opens(), A.sends(connect("%d0")), A.refused(0x85, 2))
T.both("3.1.3-4", "3.1.3-4", "a client id that is no UTF-8",
       A.opens(), A.sends(connect(b"%d/\xff")), A.rejected())
T.both("3.1.3-3 3.1.4-1", "3.1.3-3 3.1.4-1", "CONNECT without a client id",
       A.opens(), A.sends(lambda c: raw(0x10, binary("MQTT") + bytes([c.version, 2, 0, 60]) +
                                        (b"\0" if c.version == 5 else b""))), A.rejected())
T.both("3.1.3-3", "3.1.3-3", "a client id longer than the packet",
       A.opens(), A.sends(lambda c: raw(0x10, binary("MQTT") + bytes([c.version, 2, 0, 60]) +
                                        (b"\0" if c.version == 5 else b"") + b"\0\x09dev1")),
       A.rejected())


def assigned(who):
    """CONNACK with a client id of this device, and none that was there before."""
    def look(run):
        c = run.connections[who.name]
        who.expect(c, [connack(assigned_client_id=lambda v: isinstance(v, str))])
        given = c.heard[-1]["properties"]["assigned_client_id"]
        if not given.startswith(run.device.name + "/") or given in assigned.seen:
            raise Failure(f"the client id {given} is assigned")
        assigned.seen.add(given)
    return Step(f"{who.name} is assigned a client id", look)


assigned.seen = set()

T.v5("3.1.3-6 3.1.3-7 3.2.2-16", "an empty client id is assigned one, each another",
     A.connects(), B.opens(), B.sends(connect("")), assigned(B),
     C.opens(), C.sends(connect("")), assigned(C), A.quiet(), B.quiet(), C.quiet())
T.v5("3.1.3-6 3.1.3-7", "an empty client id without clean start is assigned one",
     B.opens(), B.sends(connect("", clean=0)), assigned(B))
T.v311("3.1.3-6 3.2.2-1", "an empty client id with clean session: each is another",
       A.connects(), B.opens(client_id=""), B.sends(connect("")), B.hears(connack()),
       C.opens(client_id=""), C.sends(connect("")), C.hears(connack()),
       A.quiet(), B.quiet(), C.quiet())
T.v311("3.1.3-8 3.2.2-5 3.2.2-4", "an empty client id without clean session",
       B.opens(), B.sends(connect("", clean=0)), B.refused(None, 2))
T.both("3.1.2-17 3.1.3-12 3.1.4-2 3.2.2-7", "3.1.2-19 3.2.2-5", "a user name is not taken here",
       A.opens(), A.sends(connect(user="u")), A.refused(0x86, 4))
T.both("3.1.2-19 3.1.4-2", "3.1.2-21 3.2.2-5", "a user name and password are not taken here",
       A.opens(), A.sends(connect(user="u", password="p")), A.refused(0x86, 4))
T.v5("3.1.2-19 3.1.2-16", "a password without a user name is well-formed, and not taken here",
     A.opens(), A.sends(connect(password="p")), A.refused(0x86))
T.v311("3.1.2-22 3.1.4-1", "a password without a user name",
       A.opens(), A.sends(connect(password="p")), A.rejected())
T.both("3.1.3-12", "3.1.3-11", "a user name that is no UTF-8",
       A.opens(), A.sends(connect(user=b"\xc3\x28")), A.rejected())
T.both("3.1.2-17", "3.1.2-19", "a user name's flag without a user name",
       A.opens(), A.sends(connect(flags=0x82)), A.rejected())
T.both("3.1.2-16", "3.1.2-18", "a user name without its flag",
       A.opens(), A.sends(connect(more=binary("u"))), A.rejected())
T.both("3.1.2-19", "3.1.2-21", "a password's flag without a password",
       A.opens(), A.sends(connect(flags=0xc2, more=binary("u"))), A.rejected())
T.both("3.1.2-18", "3.1.2-20", "a password without its flag",
       A.opens(), A.sends(connect(flags=0x82, more=binary("u") + binary("p"))), A.rejected())
T.both("3.1.3-1", "3.1.3-1", "will, user name and password are read in their order",
       A.opens(), A.sends(connect(will={"topic": "~/w"}, user="u", password="p")),
       A.refused(0x86, 4))
T.both("3.1.4-3 3.1.3-2 3.2.2-2", "3.1.4-2 3.1.3-2 3.2.2-1",
       "the same client id again ends the first connection",
       A.connects(), B.connects(), A2.connects(), A.ends(0x8e), A2.quiet(), B.quiet())
T.both("3.1.4-6 3.1.4-2", "3.1.4-5", "after a CONNECT that was refused nothing is processed",
       B.connects(), B.subscribes("~/#"), A.opens(),
       A.sends_together(connect("dev2"), publish("~/a", qos=1)), A.refused(0x85, 2), B.quiet())
T.both("3.1.4-1 3.1.4-6", "3.1.4-1 3.1.4-5", "after a CONNECT that is none nothing is processed",
       B.connects(), B.subscribes("~/#"), A.opens(),
       A.sends_together(connect(flags=3), publish("~/a", qos=1)), A.rejected(), B.quiet())

# --- what CONNACK tells -----------------------------------------------------------------------------

T.v5("3.2.2-9 3.2.2-10 3.2.2-12 3.2.2-13 3.3.2-12 3.2.2-17", "CONNACK: all is on offer",
     A.connects(expect=dict(maximum_qos=None, retain_available=lambda v: v in (None, 1),
                            wildcard_available=lambda v: v in (None, 1),
                            shared_available=lambda v: v in (None, 1),
                            subscription_ids_available=lambda v: v in (None, 1),
                            receive_maximum=64, topic_alias_maximum=16,
                            maximum_packet_size=256 * 1024)))
T.v5("3.2.2-22 4.12.0-6 3.1.2-28", "CONNACK: what was not asked for is not there",
     A.connects(expect=dict(server_keep_alive=None, assigned_client_id=None, auth_method=None,
                            response_information=None, session_expiry=None)))
T.v5("3.1.2-28", "response information is not there with a request of 0",
     A.connects(request_response=0, expect=dict(response_information=None)))
T.v5("3.1.2-28", "a request for response information is taken", A.connects(request_response=1))
T.v5("3.2.2-19 3.2.2-20", "a refusal fits into the client's maximum packet size",
     A.opens(), A.sends(connect("dev2", maximum_packet_size=8)), A.refused(0x85))
T.v5("4.12.0-1 4.12.0-4 3.1.4-2 3.2.2-7", "an authentication method is refused",
     A.opens(), A.sends(connect(auth_method="SCRAM-SHA-1", auth_data=b"x")), A.refused((0x8c, 0x87)))
T.v5("4.12.0-6 4.12.0-7 4.13.1-1", "AUTH where no method was agreed on",
     A.connects(), A.sends(auth(0x18)), A.ends(0x82))
T.v5("4.12.0-7", "re-authentication where no method was agreed on",
     A.connects(), A.sends(auth(0x19, auth_method="x")), A.ends(0x82))

# --- keep-alive -------------------------------------------------------------------------------------


def silent(least, most):
    """The connection ends so many seconds after the client's last packet."""
    def step(run):
        c = run.connections["A"]
        A.ends(0x8d, within=2 * most).do(run)
        took = time.monotonic() - c.sent_at
        c.say("--", f"ended after {took:.1f} s")
        if not least <= took <= most:
            raise Failure(f"the end comes after {took:.1f} s")
    return Step(f"A is silent and ended after {least} to {most} s", step, most / 2)


T.both("3.1.2-22", "3.1.2-24", "silence for one and a half keep-alives",
       A.connects(keep_alive=1), silent(1.3, 4))
T.both("3.1.2-22 3.12.4-1", "3.1.2-24 3.12.4-1", "pings keep it alive",
       A.connects(keep_alive=2), *[(wait(1.6), A.sends(PING), A.hears({"type": "PINGRESP"}))
                                   for _ in range(3)])
T.both("3.1.2-22", "3.1.2-24", "messages keep it alive",
       A.connects(keep_alive=2), *[(wait(1.6), A.publishes("~/a", qos=1)) for _ in range(3)])
T.both("3.1.2-22", "3.1.2-24", "what the server sends does not keep it alive",
       A.connects(keep_alive=2), A.subscribes("~/#"), B.connects(),
       *[(wait(0.5), B.publishes("~/a", qos=0), A.hears(pub("~/a"))) for _ in range(4)], silent(2.6, 4.8))
T.both("3.1.2-22 3.1.2-8", "3.1.2-24 3.1.2-8", "silence publishes the will",
       B.connects(), B.subscribes("~/w"), A.connects(keep_alive=1, will={"topic": "~/w"}),
       silent(1.3, 4), B.hears(pub("~/w", b"gone")))
T.v311("3.1.2-24", "keep-alive 0 is no limit", A.connects(keep_alive=0), wait(3), A.quiet())
T.v5("3.2.2-22", "the server has a keep-alive of its own where the client has none",
     A.connects(keep_alive=0, expect=dict(server_keep_alive=lambda v: v is not None and v > 0)),
     pattern=SILENT)

# --- wills ------------------------------------------------------------------------------------------

W = {"topic": "~/w"}
WATCH, WATCH_2 = ((B.connects(), B.subscribes("~/w", qos=q)) for q in (1, 2))
T.both("3.1.2-7 3.1.2-8", "3.1.2-8", "a will is published when the connection breaks",
       WATCH, A.connects(will=W), B.quiet(), A.drops(), B.hears(pub("~/w", b"gone")), B.quiet())
T.both("3.1.2-8", "3.1.2-8", "a will is published after a protocol error",
       WATCH, A.connects(will=W), A.sends(connect()), A.ends(0x82), B.hears(pub("~/w", b"gone")))
T.both("3.1.2-8 3.1.4-3", "3.1.2-8 3.1.4-2", "a will is published when another takes over",
       WATCH, A.connects(will=W), A2.connects(), A.ends(0x8e), B.hears(pub("~/w", b"gone")),
       A2.leaves(), B.quiet())
T.both("3.1.2-10 3.14.4-3 3.1.2-8", "3.1.2-10 3.14.4-3 3.1.2-8", "DISCONNECT discards the will",
       WATCH, A.connects(will=W), A.leaves(), B.quiet())
T.v5("3.14.4-3", "DISCONNECT 0x00 discards the will",
     WATCH, A.connects(will=W), A.leaves(code=0), B.quiet())
T.v5("3.14.4-3 3.1.2-8", "DISCONNECT 0x04 publishes the will",
     WATCH, A.connects(will=W), A.leaves(code=4), B.hears(pub("~/w", b"gone")))
T.both("3.1.2-10", "3.1.2-10", "a will is published once",
       WATCH, A.connects(will=W), A.drops(), B.hears(pub("~/w", b"gone")),
       A.connects(), A.drops(), B.quiet())
T.both("3.1.2-13", "3.1.2-12", "without a will none is published",
       WATCH, A.connects(), A.drops(), B.quiet())
for qos in (0, 1, 2):
    T.both("3.1.2-12 3.1.2-9", "3.1.2-14 3.1.2-9", f"a will of QoS {qos}",
           WATCH_2 if qos == 2 else WATCH, A.connects(will={**W, "qos": qos}), A.drops(),
           B.takes(pub("~/w", b"gone", qos=qos)))
T.both("3.1.2-12", "3.1.2-14", "will QoS 3",
       A.opens(), A.sends(connect(will={**W, "qos": 3})), A.rejected())
T.both("3.1.2-11", "3.1.2-13 3.1.2-11", "will QoS without a will",
       A.opens(), A.sends(connect(flags=0x0a)), A.rejected())
T.both("3.1.2-13", "3.1.2-15 3.1.2-11", "will retain without a will",
       A.opens(), A.sends(connect(flags=0x22)), A.rejected())
T.both("3.1.2-9", "3.1.2-9", "a will's flag without a will",
       A.opens(), A.sends(connect(flags=0x06)), A.rejected())
T.both("3.1.2-9", "3.1.2-11", "a will without its flag",
       A.opens(), A.sends(lambda c: connect(more=(b"\0" if c.version == 5 else b"") + binary("w") +
                                            binary("x"))(c)), A.rejected())
T.both("3.1.2-9", "3.1.2-9", "a will without a payload",
       A.opens(), A.sends(lambda c: connect(flags=6, more=(b"\0" if c.version == 5 else b"") +
                                            binary("w"))(c)), A.rejected())
T.both("3.1.2-9", "3.1.2-9", "a will of no bytes is published",
       WATCH, A.connects(will={**W, "payload": b""}), A.drops(), B.hears(pub("~/w", b"")))
T.both("3.1.2-14", "3.1.2-16", "a will without retain is not retained",
       WATCH, A.connects(will=W), A.drops(), B.hears(pub("~/w", b"gone")),
       C.connects(), C.subscribes("~/w"), C.quiet())


def clears(topic):
    return Step("its retained message is taken away in the end",
                lambda run: run.to_clear.add(topic.replace("~", run.mark).encode()))


T.both("3.1.2-15", "3.1.2-17", "a will with retain is retained", clears("~/w"),
       WATCH, A.connects(will={**W, "retain": 1}), A.drops(), B.hears(pub("~/w", b"gone")),
       C.connects(), C.subscribes("~/w"), C.hears(pub("~/w", b"gone", retain=1)))
T.both("3.1.3-11", "3.1.3-10", "a will topic that is no UTF-8",
       A.opens(), A.sends(connect(will={"topic": b"~/\xed\xa0\x80"})), A.rejected())
T.both("3.1.4-2 4.7.0-1", "3.2.2-6 4.7.1-1", "a will topic with a wildcard",
       A.opens(), A.sends(connect(will={"topic": "~/#"})), A.rejected(0x81, 0x82, 0x90))
T.both("4.7.3-1", "4.7.3-1", "a will topic without a character",
       A.opens(), A.sends(connect(will={"topic": ""})), A.rejected(0x81, 0x82, 0x90))
T.v5("3.1.3-10 3.3.2-18 3.3.2-17", "a will's properties are handed on, in their order",
     WATCH, A.connects(will={**W, "properties": [
         ("user_property", ("b", "1")), ("payload_format", 1), ("user_property", ("a", "2")),
         ("content_type", "text/plain"), ("correlation_data", b"\0\1"),
         ("user_property", ("b", "1"))]}), A.drops(),
     B.hears(pub("~/w", b"gone", payload_format=1, content_type="text/plain",
                 correlation_data=b"\0\1", user_property=[("b", "1"), ("a", "2"), ("b", "1")])))
T.v5("3.3.2-15 3.3.2-6", "a will's response topic and expiry are handed on",
     WATCH, A.connects(will={**W, "properties": [("response_topic", "r/t"),
                                                 ("message_expiry", 100)]}), A.drops(),
     B.hears(pub("~/w", b"gone", response_topic="r/t", message_expiry=lambda v: 97 <= v <= 100)))
T.v5("3.1.2-8", "a will waits for its delay",
     WATCH, A.connects(will={**W, "will_delay": 2}, session_expiry=30), A.drops(),
     wait(0.8), B.quiet(), B.hears(pub("~/w", b"gone"), within=4))
T.v5("3.1.2-8", "a will's delay ends with the session",
     WATCH, A.connects(will={**W, "will_delay": 60}, session_expiry=1), A.drops(),
     B.hears(pub("~/w", b"gone"), within=4), pattern=WILL_OUTLIVES)
T.v5("3.1.2-8", "without a session that outlives the connection a will has no delay",
     WATCH, A.connects(will={**W, "will_delay": 60}), A.drops(), B.hears(pub("~/w", b"gone")))
T.v5("3.1.3-9 3.1.2-8", "who is back within the delay has no will published",
     WATCH, A.connects(will={**W, "will_delay": 2}, session_expiry=30), A.drops(),
     wait(0.3), A.connects(clean=0, present=1, session_expiry=30), wait(2.3), B.quiet(),
     A.leaves())
T.v5("3.1.3-9", "a will with a delay is not published when its client takes over itself",
     WATCH, A.connects(will={**W, "will_delay": 2}, session_expiry=30),
     A2.connects(clean=0, present=1, session_expiry=30), A.ends(0x8e), wait(2.3), B.quiet())
T.v5("3.14.4-3", "DISCONNECT 0x00 discards a will with a delay",
     WATCH, A.connects(will={**W, "will_delay": 1}, session_expiry=30), A.leaves(), wait(1.2),
     B.quiet())

# --- DISCONNECT -------------------------------------------------------------------------------------

T.both("3.14.1-1 2.1.3-1 4.13.1-1", "3.14.1-1 2.2.2-2", "reserved flags of DISCONNECT",
       A.connects(), A.sends("e100"), A.ends(0x81))
T.both("3.14.4-1 3.14.4-2", "4.8.0-1", "what comes after DISCONNECT is not processed",
       B.connects(), B.subscribes("~/#"), A.connects(),
       A.sends_together(disconnect(), publish("~/a", qos=0)), A.closed(), B.quiet())
T.v5("3.14.4-1 3.14.4-2 3.14.2-1 3.14.2-2 4.13.2-1", "the server's DISCONNECT is its last word",
     A.connects(session_expiry=5), A.sends_together(connect(), PING), A.ends(0x82))
T.v5("3.14.2-3 3.14.2-4", "DISCONNECT fits into the client's maximum packet size",
     A.connects(maximum_packet_size=64), A.sends(connect()), A.ends(0x82))
T.v5("3.14.2-1", "DISCONNECT with a reason code that it may not have",
     A.connects(), A.sends(disconnect(code=0x01)), A.ends(BAD))
T.v5("3.14.2-1", "DISCONNECT with reason, reason string and user property",
     A.connects(), A.leaves(code=0x80, reason_string="tired", user_property=[("a", "b")]))
T.v5("3.14.2-1", "a session expiry in DISCONNECT where it was 0",
     A.connects(), A.sends(disconnect(session_expiry=10)), A.ends(0x82))
T.v5("3.2.2-15 3.14.2-1", "a packet above the server's maximum is told so",
     A.connects(), A.sends(raw(0x30)[:1] + varint(256 * 1024)), A.ends(0x95))
T.v5("3.2.2-15", "a packet of the server's maximum is taken",
     A.connects(), A.sends(lambda c: publish("~/a", b"y" * (256 * 1024 - 4 - 4 - 1 - 2 -
                                                            len(c.mark)), qos=1)(c)),
     A.hears(puback(1)))
