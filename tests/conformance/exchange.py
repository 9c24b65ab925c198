# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of the cases. Actors are sessions of one device: A ("%d"), B ("%d/b") and C ("%d/c"),
each with one connection at a time. A case is a list of steps: A.connects(), A.sends(...),
A.hears(...), A.closed(), restart(). What is expected is exact: each packet that comes has to be
named, in its order, with all its fields.

"%d" in a topic or client id is the device's name (cases run side by side, each on a device of its
own), "~" what stands before the topics of this run of the case alone."""

import itertools
import os
import time

import wire
from connection import PATIENCE, PEER, Connection
from lab import Failure, wait_until
from patterns import (ANY, PONG, TAKEN, connack, differs, in_version, pub, puback, pubcomp, pubrec,
                      pubrel, suback, unsuback, words)

__all__ = ["ANY", "TAKEN", "Connection", "Failure", "connack", "pub", "puback", "pubcomp", "pubrec",
           "pubrel", "suback", "unsuback", "words"]  # what cases take from here beside its own
GRACE = 0.15  # for what must not come


# --- steps ------------------------------------------------------------------------------------------

class Step:
    def __init__(self, text, do, seconds=0):
        self.text, self.do, self.seconds = text, do, seconds  # for which it waits whatever comes


class Actor:
    def __init__(self, name, client_id):
        self.name, self.client_id = name, client_id

    def step(self, text, do):
        return Step(f"{self.name} {text}", lambda run: do(run, run.connections[self.name]))

    def opens(self, client_id=None, version=None):
        """A connection without a CONNECT."""
        def do(run):
            run.connections[self.name] = Connection(
                run, self.name, self.client_id if client_id is None else client_id,
                version or run.version)
        return Step(f"{self.name} opens", do)

    def connects(self, present=0, version=None, expect=None, **options):
        """CONNECT that is taken. `expect`: properties of the CONNACK."""
        def do(run):
            self.opens(options.get("client_id"), version).do(run)
            c = run.connections[self.name]
            c.send(wire.connect(**options)(c))
            self.expect(c, [connack(present=present, **(expect or {}))])
        return Step(f"{self.name} connects", do)

    def sends(self, *packets):
        """Each a function of the connection, bytes, or hex; in one write."""
        def do(run, c):
            for p in packets:
                c.send(p(c) if callable(p) else bytes.fromhex(p) if isinstance(p, str) else p)
        return self.step("sends", do)

    def sends_together(self, *packets):
        def do(run, c):
            c.send(b"".join(p(c) if callable(p) else p for p in packets))
        return self.step("sends at once", do)

    def sends_slowly(self, *packets):
        """One byte a write."""
        def do(run, c):
            for b in b"".join(p(c) if callable(p) else p for p in packets):
                c.socket.sendall(bytes([b]))
        return self.step("sends byte by byte", do)

    def expect(self, c, patterns, any_order=False, within=PATIENCE):
        wanted = [in_version(p, c) for p in patterns]
        while wanted:
            p = c.packet(within)
            if p is None:
                raise Failure(f"{self.name} waits for {words(wanted[0])}; nothing comes"
                              f"{', the connection is ' + c.ended if c.ended else ''}")
            found = [w for w in (wanted if any_order else wanted[:1]) if not differs(w, p)]
            if not found:
                raise Failure(f"{self.name} waits for {words(wanted[0])}; there comes {words(p)}")
            wanted.remove(found[0])

    def hears(self, *patterns, within=PATIENCE):
        return self.step(f"hears {', '.join(words(p) for p in patterns)}",
                         lambda run, c: self.expect(c, patterns, within=within))

    def hears_all(self, *patterns):
        """In any order."""
        return self.step(f"hears, in any order, {', '.join(words(p) for p in patterns)}",
                         lambda run, c: self.expect(c, patterns, any_order=True))

    def quiet(self, grace=GRACE):
        """Nothing more than the answer to a ping comes."""
        def do(run, c):
            c.send(wire.PING)
            self.expect(c, [PONG])
            p = c.packet(grace)
            if p is not None:
                raise Failure(f"{self.name} should hear nothing more; there comes {words(p)}")
        return self.step("hears nothing more", do)

    def closed(self, within=PATIENCE):
        def do(run, c):
            p = c.packet(within)
            if p is not None:
                raise Failure(f"{self.name}'s connection should end; there comes {words(p)}")
            if not c.ended:
                raise Failure(f"{self.name}'s connection stays open")
        return self.step("is closed", do)

    def ends(self, code, within=PATIENCE):
        """The server ends it, in 5.0 with this reason."""
        def do(run, c):
            if c.version == 5:
                self.expect(c, [{"type": "DISCONNECT", "code": code}], within=within)
            self.closed(within).do(run)
        return self.step(f"is ended with {code if isinstance(code, tuple) else hex(code)}", do)

    def refused(self, code5, code311=None):
        """The CONNECT is refused: with this code, in 3.1.1 with the other or none."""
        def do(run, c):
            code = code5 if c.version == 5 else code311
            if code is not None:
                self.expect(c, [connack(code=code)])
            self.closed().do(run)
        return self.step(f"is refused with {code5}", do)

    def rejected(self, *codes):
        """A CONNECT that is none: the end, in 5.0 perhaps with one of these codes before."""
        def do(run, c):
            p = c.packet(PATIENCE)
            if p is not None:
                wanted = {"type": "CONNACK", "code": codes or (0x81, 0x82)}
                if c.version != 5 or differs(wanted, p):
                    raise Failure(f"{self.name} waits for the end; there comes {words(p)}")
                self.closed().do(run)
            elif not c.ended:
                raise Failure(f"{self.name}'s connection stays open")
        return self.step("is rejected", do)

    def drops(self):
        """The connection breaks, without DISCONNECT."""
        return self.step("drops", lambda run, c: c.close())

    def leaves(self, **how):
        def do(run, c):
            c.send(wire.disconnect(**how)(c))
            self.closed().do(run)
            c.close()
        return self.step("leaves", do)

    def subscribes(self, *filters, codes=None, id=1, **options):
        """SUBSCRIBE that is granted as asked for, or with these codes."""
        asked = [(f[1] if isinstance(f, tuple) else options.get("options", options.get("qos") or 0))
                 & 3 for f in filters]
        def do(run, c):
            c.send(wire.subscribe(*filters, id=id, **options)(c))
            self.expect(c, [suback(id, *(codes or asked))])
        return self.step("subscribes", do)

    def subscribes_among(self, filter, payload, id=2, qos=1):
        """SUBSCRIBE again, while a message is on its way: both come, in any order."""
        def do(run, c):
            c.send(wire.subscribe(filter, id=id, qos=qos)(c))
            self.expect(c, [suback(id, qos), pub(filter, payload, qos=1)], any_order=True)
            number = next(p["id"] for p in reversed(c.heard) if p["type"] == "PUBLISH")
            c.send(wire.send_puback(number)(c))
        return self.step("subscribes again", do)

    def publishes(self, topic, payload=b"x", qos=1, id=1, **options):
        """PUBLISH with all that its QoS takes."""
        def do(run, c):
            c.send(wire.publish(topic, payload, qos=qos, id=id, **options)(c))
            if qos == 0:
                c.send(wire.PING)
                self.expect(c, [PONG])
            if qos == 1:
                self.expect(c, [puback(id)])
            if qos == 2:
                self.expect(c, [pubrec(id)])
                c.send(wire.send_pubrel(id)(c))
                self.expect(c, [pubcomp(id)])
        return self.step(f"publishes {topic} with QoS {qos}", do)

    def takes(self, *patterns):
        """Messages in this order, each acknowledged at once and as its QoS wants it."""
        def do(run, c):
            wanted, released = list(patterns), set()
            while wanted or released:
                expected = [*wanted[:1], *({"type": "PUBREL", "id": i, "code": 0} for i in released)]
                p = self.one_of(c, expected)
                if p["type"] == "PUBREL":
                    released.discard(p["id"])
                    c.send(wire.send_pubcomp(p["id"])(c))
                    continue
                wanted.pop(0)
                if p["qos"] == 1:
                    c.send(wire.send_puback(p["id"])(c))
                if p["qos"] == 2:
                    released.add(p["id"])
                    c.send(wire.send_pubrec(p["id"])(c))
        return self.step(f"takes {', '.join(words(p) for p in patterns)}", do)

    def one_of(self, c, patterns, within=PATIENCE):
        p = c.packet(within)
        fitting = [e for e in patterns if p and not differs(in_version(e, c), p)]
        if not fitting:
            raise Failure(f"{self.name} waits for {' or '.join(words(e) for e in patterns)}; there comes "
                          f"{words(p) if p else c.ended or 'nothing'}")
        return p

    def may_take(self, *patterns):
        """These or none of them, acknowledged: where both are right."""
        def do(run, c):
            c.send(wire.PING)
            p = self.one_of(c, [*patterns[:1], PONG])
            if p["type"] == "PINGRESP":
                return
            if p["qos"] == 2:
                c.send(wire.send_pubrec(p["id"])(c))
                self.expect(c, [PONG, {"type": "PUBREL", "id": p["id"]}], any_order=True)
                c.send(wire.send_pubcomp(p["id"])(c))
            else:
                self.expect(c, [PONG])
            if patterns[1:]:
                self.takes(*patterns[1:]).do(run)
        return self.step(f"may take {', '.join(words(p) for p in patterns)}", do)

    def answers(self, builder, back=1, **options):
        """An acknowledgement of the message that came last, or `back` messages ago."""
        def do(run, c):
            came = [p for p in c.heard if p["type"] in ("PUBLISH", "PUBREL")]
            c.send(builder(came[-back]["id"], **options)(c))
        return self.step("answers", do)


A, B, C = Actor("A", "%d"), Actor("B", "%d/b"), Actor("C", "%d/c")
A2 = Actor("A2", "%d")  # the same client id


def wait(seconds):
    return Step(f"{seconds} s pass", lambda run: time.sleep(seconds), seconds)


def each(count, *steps):
    """The same steps so many times."""
    def again(run):
        for _ in range(count):
            for s in flat(steps):
                s.do(run)
    return Step(f"{count} times: {'; '.join(s.text for s in flat(steps))}", again)


def bounded(most, *steps, reserved=None):
    """The steps, after which the daemon holds no more than so many MB more than before; `reserved`:
    and at no moment so many more were put aside, used or not. Nothing else happens meanwhile."""
    def watch(run):
        before, size, peak = (run.gateway.memory(what) for what in ("VmRSS", "VmSize", "VmPeak"))
        for s in flat(steps):
            s.do(run)
        grown = (run.gateway.memory("VmRSS") - before) // 1024
        run.transcript.append(f"-- the daemon holds {grown} MB more than before")
        if grown > most:
            raise Failure(f"the daemon holds {grown} MB more than before")
        now = run.gateway.memory("VmPeak")
        if reserved and now > max(peak, size + reserved * 1024):
            raise Failure(f"the daemon put {(now - size) // 1024} MB aside")
    step = Step(f"the daemon's memory stays within {most} MB of what it was while "
                f"{'; '.join(s.text for s in flat(steps))}", watch)
    step.alone = True
    return step


def restart():
    """The daemon is killed, as if the power had gone, and started."""
    def do(run):
        if PEER:
            raise Failure("another server is not killed")
        run.restart()
        for c in run.connections.values():
            c.close()
    step = Step("the daemon is killed and started", do)
    step.restarts = True
    return step


def upstream(topic, payload=b"x"):
    """It is relayed upstream."""
    def look(run):
        if PEER:
            return
        t = f"plant/gw1/{run.device.name}/{topic.replace('~', run.mark)}"
        if not wait_until(lambda: payload in run.gateway.arrived(t), 20):
            raise Failure(f"{t} {payload!r} does not arrive upstream within 20 s")
    return Step(f"{topic} arrives upstream", look)


# --- cases ------------------------------------------------------------------------------------------

class Case:
    def __init__(self, version, statements, title, steps, pattern=None):
        self.version, self.statements, self.title = version, statements.split(), title
        self.steps, self.pattern = flat(steps), pattern
        self.restarts = sum(getattr(s, "restarts", False) for s in self.steps)
        self.alone = any(getattr(s, "alone", False) for s in self.steps)
        self.seconds = sum(s.seconds for s in self.steps)
        self.__doc__ = f"{'5.0' if version == 5 else '3.1.1'}: {title}"


def flat(steps):
    out = []
    for s in steps:
        out += flat(s) if isinstance(s, (list, tuple)) else [s]
    return out


class Table:
    """Collects cases. both() is one exchange in both versions, with the statements of each."""

    def __init__(self):
        self.cases = []

    def v5(self, statements, title, *steps, **more):
        self.cases.append(Case(5, statements, title, steps, **more))

    def v311(self, statements, title, *steps, **more):
        self.cases.append(Case(4, statements, title, steps, **more))

    def both(self, statements5, statements311, title, *steps, **more):
        self.v5(statements5, title, *steps, **more)
        self.v311(statements311, title, *steps, **more)


class Run:
    """One run of one case, on a device of its own."""
    count = itertools.count(1)

    def __init__(self, gateway, device, case):
        self.gateway, self.device, self.case, self.version = gateway, device, case, case.version
        self.lab, self.process = gateway.lab, gateway.process
        self.mark = f"k{os.getpid()}-{next(Run.count)}"
        self.connections, self.transcript, self.notes = {}, [], {}
        self.to_clear, self.to_end, self.aliased = set(), set(), False
        self.restarter = gateway.restart

    def restart(self):
        self.restarter()
        self.process = self.gateway.process

    def perform(self):
        for i, step in enumerate(self.case.steps, 1):
            try:
                step.do(self)
            except (Failure, wire.Violation, AssertionError, OSError) as e:
                raise Failure(f"step {i} of {len(self.case.steps)}, {step.text}:\n      {e}") from e
        for name, c in self.connections.items():
            if not c.ended:
                Actor(name, c.client_id).quiet(grace=0.0).do(self)

    def clean(self):
        """Nothing of a case is there when the next begins on this device: connections, sessions that
        outlive them, retained messages."""
        for c in self.connections.values():
            c.close()
        if not wait_until(self.cleaned, 10):
            raise Failure("the sessions of the case cannot be ended")

    def cleaned(self):
        ids = {i for i in self.to_end if i.isascii() and i.decode().isprintable() and
               i.split(b"/")[0] == self.device.name.encode()}
        if self.to_clear:
            ids.add(self.device.name.encode())
        try:
            for client_id in sorted(ids):
                self.end_session(client_id)
        except OSError:
            return False
        return True

    def end_session(self, client_id):
        c = Connection(self, "cleaner", client_id, 5)
        c.send(wire.connect()(c))
        p = c.packet(PATIENCE)
        if p and p["code"] == 0:
            for topic in self.to_clear:
                c.send(wire.publish(topic, b"", retain=1)(c))
            self.to_clear.clear()
            c.send(wire.disconnect()(c))
            while c.packet(PATIENCE):
                pass
        c.close()
