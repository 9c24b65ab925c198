# SPDX-License-Identifier: GPL-3.0-or-later
"""The language of the cases. Actors are sessions of one device: A ("dev1"), B ("dev1/b") and
C ("dev1/c"), each with one connection at a time, over mutual TLS to the gateway's port. A case is a
list of steps: A.connects(), A.sends(...), A.hears(...), A.closed(), restart(). What is expected
is exact: each packet that comes has to be named, in its order, with all its fields.

Whatever the case is about, each packet that comes is also held against what the connection agreed
on: the client's maximum packet size, receive maximum, topic aliases, request for problem
information; one CONNACK, first; after DISCONNECT nothing."""

import ctypes
import os
import socket
import ssl
import time

import wire
from lab import Failure, wait_until

GATEWAY = ("10.10.0.1", 8883)
# Another server, HOST:PORT as this process reaches it: to see whether a case that fails is right.
PEER = os.environ.get("CONFORMANCE_PEER")
PATIENCE = 4.0  # for what has to come
GRACE = 0.15    # for what must not come
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


class ANY:
    """A field that may have any value."""


TAKEN = (0x00, 0x10)  # success, or success without a subscriber


# --- patterns of what comes -------------------------------------------------------------------------

def connack(present=0, code=0, **props):
    """Properties that are not named may stand there; None: must not."""
    return {"type": "CONNACK", "flags": present, "code": code, "some": props}


def pub(topic, payload=b"x", qos=0, id=ANY, retain=0, dup=0, **props):
    return {"type": "PUBLISH", "topic": topic, "payload": payload if isinstance(payload, bytes)
            else payload.encode(), "qos": qos, "id": id if qos else None, "retain": retain,
            "dup": dup, "properties": props}


def acked(kind):
    def pattern(id, code=TAKEN if kind in ("PUBACK", "PUBREC") else 0):
        return {"type": kind, "id": id, "code": code}
    return pattern


puback, pubrec, pubrel, pubcomp = (acked(k) for k in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"))


def suback(id, *codes):
    return {"type": "SUBACK", "id": id, "codes": list(codes)}


def unsuback(id, *codes):
    return {"type": "UNSUBACK", "id": id, "codes": list(codes)}


PONG = {"type": "PINGRESP"}


def same(expected, came):
    if expected is ANY:
        return True
    if callable(expected):
        try:
            return expected(came)
        except TypeError:  # of nothing
            return False
    if isinstance(expected, (tuple, set, range)) and not isinstance(came, tuple):
        return came in expected
    return expected == came


def in_version(pattern, c):
    """3.1.1 has no properties, no reason codes in acknowledgements, and one code of failure."""
    p = dict(pattern)
    if "topic" in p and not callable(p["topic"]):
        p["topic"] = wire.marked(p["topic"], c).decode()
    if c.version == 5:
        props = p.get("properties", {})
        if "response_topic" in props:
            props = {**props, "response_topic": wire.marked(props["response_topic"], c).decode()}
            p["properties"] = props
        return p
    p.pop("some", None)
    if p["type"] in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        p.pop("code", None)
    if p["type"] == "UNSUBACK":
        p.pop("codes", None)
    if p["type"] == "SUBACK":
        p["codes"] = [0x80 if isinstance(code, int) and code >= 0x80 else code
                      for code in p["codes"]]
    return p


def differs(pattern, came):
    """What is wrong with it, or nothing."""
    wrong = [k for k, v in pattern.items() if k not in ("some", "codes", "properties") and
             not same(v, came.get(k))]
    if "properties" in pattern:  # these and no others
        here, there = pattern["properties"], came.get("properties", {})
        wrong += [n for n in {**here, **there} if not same(here.get(n), there.get(n))]
    for name, value in pattern.get("some", {}).items():
        if not same(value, came["properties"].get(name)):
            wrong.append(name)
    if "codes" in pattern and (len(came.get("codes", [])) != len(pattern["codes"]) or not all(
            same(e, v) for e, v in zip(pattern["codes"], came["codes"]))):
        wrong.append("codes")
    return wrong


def words(p):
    """A packet or a pattern in one line."""
    def value(v):
        if v is ANY:
            return "any"
        if callable(v):
            return getattr(v, "words", "as computed")
        if isinstance(v, bytes):
            return repr(v) if len(v) < 60 else f"{len(v)} bytes"
        if isinstance(v, str):
            return v if len(v) < 60 else f"{v[:20]}... ({len(v)})"
        return hex(v) if isinstance(v, int) and v > 9 else str(v)
    fields = [f"{k}={value(v)}" for k, v in p.items()
              if k not in ("type", "properties", "some") and v is not None]
    more = {**p.get("properties", {}), **p.get("some", {})}
    return " ".join([p["type"], *fields, *(f"{k}={value(v)}" for k, v in more.items())])


# --- a connection -----------------------------------------------------------------------------------

def socket_on(lab, node):
    """A socket in a node's network: it stays there, while this process comes back."""
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/run/netns/sallyport-{lab.name}-{node}", os.O_RDONLY)
    try:
        if libc.setns(theirs, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {node}'s network")
        return socket.socket()
    finally:
        libc.setns(ours, CLONE_NEWNET)
        os.close(ours)
        os.close(theirs)


class Connection:
    def __init__(self, run, name, client_id, version, node="dev1"):
        self.run, self.name, self.client_id, self.version = run, name, client_id, version
        self.mark, self.buffer, self.ended, self.heard = run.mark, b"", None, []
        self.limits, self.aliases, self.in_flight, self.incoming = {}, {}, {}, set()
        s = socket.socket() if PEER else socket_on(run.lab, node)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.settimeout(PATIENCE * 2)
        s.connect((PEER.rsplit(":", 1)[0], int(PEER.rsplit(":", 1)[1])) if PEER else GATEWAY)
        self.socket = run.tls(node).wrap_socket(s)

    def retained(self, topic):
        self.run.to_clear.add(topic)

    def agreed(self, props):
        self.limits = dict(props)

    def say(self, way, text):
        self.run.transcript.append(f"{self.name} {way} {text}")

    def send(self, data):
        self.say("->", data.hex() if len(data) < 200 else f"{data[:60].hex()}... ({len(data)})")
        self.note(data)
        try:
            self.socket.settimeout(PATIENCE * 2)
            self.socket.sendall(data)
        except OSError as e:  # closed already: what was heard tells why
            self.say("->", f"not sent: {type(e).__name__}")

    def note(self, data):
        """What the client acknowledges is no longer on its way."""
        kind, at = data[0] >> 4 if data else 0, 2
        if len(data) < 4 or kind not in (4, 5, 7):
            return
        number = int.from_bytes(data[at:at + 2], "big")
        if kind == 5:
            self.incoming.add(number)
            if not (len(data) > 4 and data[4] >= 0x80):
                return
        self.in_flight.pop(number, None)

    def fill(self, deadline):
        """More bytes, or not in time."""
        left = deadline - time.monotonic()
        if left <= 0 or self.ended:
            return False
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            return False
        except OSError as e:
            data, self.ended = b"", type(e).__name__
        if not data:
            self.ended = self.ended or "closed"
            self.say("<-", self.ended)
            return False
        self.buffer += data
        return True

    def packet(self, within):
        """The next packet, or None where none comes in time or the connection has ended."""
        deadline = time.monotonic() + within
        while True:
            data, self.buffer = wire.split(self.buffer)
            if data is not None:
                break
            if not self.fill(deadline):
                if self.ended and self.buffer:
                    raise wire.Violation(f"the end within a packet: {self.buffer.hex()}")
                return None
        p = wire.decode(data, self.version)
        self.say("<-", f"{words(p)}  [{data.hex() if len(data) < 100 else len(data)}]")
        if not wire.canonical(data, p, self.version):
            raise wire.Violation(f"these bytes are not its one right form: {data.hex()}")
        self.hold(p, len(data))
        self.heard.append(p)
        return p

    def hold(self, p, size):
        """What is true of each packet, whatever the case is about."""
        def rule(condition, text):
            if not condition:
                raise wire.Violation(f"{text}: {words(p)}")
        limits, kind = self.limits, p["type"]
        rule(size <= limits.get("maximum_packet_size", 1 << 28),
             f"[MQTT-3.1.2-24]: {size} bytes are more than the client takes")
        rule((kind == "CONNACK") == (not self.heard), "one CONNACK, and that first")
        rule(not self.heard or self.heard[-1]["type"] != "DISCONNECT", "a packet after DISCONNECT")
        if limits.get("request_problem", 1) == 0 and kind not in ("PUBLISH", "CONNACK",
                                                                  "DISCONNECT"):
            rule(not {"reason_string", "user_property"} & set(p["properties"]),
                 "[MQTT-3.1.2-29]: not asked for")
        if not limits.get("request_response"):
            rule("response_information" not in p.get("properties", {}),
                 "[MQTT-3.1.2-28]: not asked for")
        if kind == "PUBLISH":
            self.hold_publish(p, rule)
        elif kind == "PUBREL":
            self.incoming.discard(p["id"])

    def hold_publish(self, p, rule):
        alias = p["properties"].pop("topic_alias", None)
        if alias is not None:
            rule(0 < alias <= self.limits.get("topic_alias_maximum", 0),
                 f"[MQTT-3.1.2-26]: topic alias {alias}")
            if p["topic"]:
                self.aliases[alias] = p["topic"]
            rule(alias in self.aliases, f"topic alias {alias} was never given")
            p["topic"] = self.aliases[alias]
            self.run.aliased = True
        rule(p["topic"] and "+" not in p["topic"] and "#" not in p["topic"], "a wildcard topic")
        if p["qos"]:
            rule(p["id"] not in self.in_flight or p["dup"],
                 "[MQTT-2.2.1-4]: this packet id is in use")
            self.in_flight[p["id"]] = p
            rule(len(self.in_flight) <= self.limits.get("receive_maximum", 65535),
                 "[MQTT-3.3.4-9]: more than the receive maximum are on their way")

    def close(self):
        self.socket.close()
        self.ended = self.ended or "left"


# --- steps ------------------------------------------------------------------------------------------

class Step:
    def __init__(self, text, do):
        self.text, self.do = text, do


class Actor:
    def __init__(self, name, client_id, node="dev1"):
        self.name, self.client_id, self.node = name, client_id, node

    def step(self, text, do):
        return Step(f"{self.name} {text}", lambda run: do(run, run.connections[self.name]))

    def opens(self, client_id=None, version=None):
        """A connection without a CONNECT."""
        def do(run):
            used = self.client_id if client_id is None else client_id
            run.connections[self.name] = Connection(run, self.name, used, version or run.version,
                                                    self.node)
            run.client_ids.add(used)
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


A, B, C = Actor("A", "dev1"), Actor("B", "dev1/b"), Actor("C", "dev1/c")


A2 = Actor("A2", "dev1")  # the same client id


def wait(seconds):
    return Step(f"{seconds} s pass", lambda run: time.sleep(seconds))


def each(count, *steps):
    """The same steps so many times."""
    def again(run):
        for _ in range(count):
            for s in flat(steps):
                s.do(run)
    return Step(f"{count} times: {'; '.join(s.text for s in flat(steps))}", again)


def memory(run):
    """What the daemon holds, in kB."""
    if PEER:
        return 0
    said = run.lab.run("gw", "bash", "-c", "grep VmRSS /proc/$(cat /run/daemon.pid)/status", quiet=True)
    return int(said.stdout.split()[1])


def bounded(most, *steps):
    """The steps, after which the daemon holds no more than so many MB more than before."""
    def watch(run):
        before = memory(run)
        for s in flat(steps):
            s.do(run)
        grown = (memory(run) - before) // 1024
        run.transcript.append(f"-- the daemon holds {grown} MB more than before")
        if grown > most:
            raise Failure(f"the daemon holds {grown} MB more than before")
    return Step(f"the daemon's memory stays within {most} MB of what it was while "
                f"{'; '.join(s.text for s in flat(steps))}", watch)


def restart():
    """The daemon is killed, as if the power had gone, and started."""
    def do(run):
        if PEER:
            raise Failure("another server is not killed")
        run.lab.service("kill", "daemon")
        run.lab.service("start", "daemon")
        for c in run.connections.values():
            c.close()
    step = Step("the daemon is killed and started", do)
    step.restarts = True
    return step


def either(name, step, *others):
    """The server may end the connection at this point, or go on with these."""
    def look(run):
        c = run.connections[name]
        c.send(wire.PING)
        p = c.packet(PATIENCE)
        if p is None or p["type"] == "DISCONNECT":
            return
        if p["type"] != "PINGRESP":
            raise Failure(f"{name}: there comes {words(p)}")
        for s in (step, *others):
            s.do(run)
    return Step(f"{name} is ended, or goes on", look)


def upstream(topic, payload=b"x"):
    """It is relayed upstream."""
    def look(run):
        if PEER:
            return
        t = "plant/gw1/dev1/" + topic.replace("~", run.mark)
        run.lab.wait_arrived(lambda came, p: came == t and p == payload, f"{t} {payload!r}")
    return Step(f"{topic} arrives upstream", look)


# --- cases ------------------------------------------------------------------------------------------

class Case:
    def __init__(self, version, statements, title, steps, pattern=None):
        self.version, self.statements, self.title = version, statements.split(), title
        self.steps, self.pattern = flat(steps), pattern
        self.restarts = any(getattr(s, "restarts", False) for s in self.steps)
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
    """One run of one case."""
    count = 0
    contexts = {}

    def __init__(self, lab, case):
        Run.count += 1
        self.lab, self.case, self.version = lab, case, case.version
        self.mark = f"k{os.getpid()}-{Run.count}"
        self.connections, self.transcript, self.to_clear = {}, [], set()
        self.client_ids, self.aliased, self.notes = set(), False, {}

    def tls(self, node):
        if node not in self.contexts:
            c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            c.load_verify_locations(os.path.join(self.lab.pki, "operator.pem"))
            c.check_hostname = False
            c.load_cert_chain(*(os.path.join(self.lab.pki, node + e) for e in (".pem", ".key")))
            self.contexts[node] = c
        return self.contexts[node]

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
        """Nothing of a case is there when the next begins: sessions, wills, retained messages."""
        for c in self.connections.values():
            c.close()
        if not wait_until(lambda: self.cleaned(), 10):
            raise Failure("the sessions of the case cannot be ended")

    def cleaned(self):
        try:
            for client_id in sorted(self.client_ids - {""}) or ["dev1"]:
                if not client_id.startswith("dev1") or not client_id.isprintable():
                    continue
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
        except OSError:
            return False
        return True
