# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of the settings suite: each key of the configuration proven by what the running daemon does
with it. Keys that the story, the hostile suite or a unit test proves already are not here."""

import contextlib
import datetime
import hashlib
import os
import select
import time

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import renewal_steps
from hostile_coap import Firmware, dtls
from hostile_mqtt import OK
from lab import check, wait_until
from peers import (PLANT, POST, Reasons, begin, codes, connect, end, gateway_tls, message, packets,
                   publish, raw, text, told, varint)
from reload import DROP_IN, changed, configured
from steps import GATEWAY, INTERNET, PROBE, UPSTREAM, coap, device, mqtt



@contextlib.contextmanager
def started(lab, text):
    """The same for what takes a restart. Hands out what puts still other text in force."""
    def start():
        lab.service("stop", "daemon")
        lab.service("start", "daemon")

    def use(more):
        with open(os.path.join(lab.dir, "gw/etc/sallyport", DROP_IN), "w") as f:
            f.write(more)
        start()
    try:
        with changed(lab, DROP_IN, lambda _: text):
            start()
            yield use
    finally:
        lab.close()
        start()


def probe(lab, node, *targets):
    lines = lab.run(node, PROBE, *targets, quiet=True).stdout.splitlines()
    return [line.split()[1] for line in lines]


def post(lab, name, port, gateway):
    """The code of the answer to a request at a port."""
    case = dtls([message(POST, ["t", "x"], b"1")], cert=name, wait=2)
    answer = raw(lab, name, {**case, "to": f"{gateway}:{port}"})[0]
    return codes(answer["heard"]).get(1, answer["end"])


# --- doors ------------------------------------------------------------------------------------------

def listen(lab):
    """[MQTT] Listen=, [CoAP] Listen=: several, one address alone, none at all"""
    several = (f"[MQTT]\nListen=8883\nListen={GATEWAY}:8893\n"
               f"[CoAP]\nListen={PLANT}:5694\nListen=[fd00:20::1]:5695\n")
    with started(lab, several) as use:
        for port in (8883, 8893):
            a = raw(lab, "dev1", {**gateway_tls({"send": [connect().hex()], "wait": 1}),
                                  "to": f"{GATEWAY}:{port}"})[0]
            check(told(a["heard"]) == [OK], f"port {port}: {a}")
        got = probe(lab, "dev2", f"tcp:{PLANT}:8883", f"tcp:{PLANT}:8893")
        check(got == ["open", "refused"], f"dev2 finds {got}")
        got = post(lab, "dev2", 5694, PLANT), post(lab, "dev2", 5695, "[fd00:20::1]")
        check(got == ("2.04", "2.04"), f"CoAP at its two ports: {got}")
        got = post(lab, "dev2", 5684, PLANT)
        check("." not in got, f"CoAP answers at its default port: {got}")
        lab.say("two doors each, where they are configured and nowhere else")
        use("[MQTT]\nListen=\n")
        check(probe(lab, "dev1", f"tcp:{GATEWAY}:8883") != ["open"], "MQTT is not off")
        check(post(lab, "dev2", 5684, PLANT) == "2.04", "without MQTT there is no CoAP")
        use("[CoAP]\nListen=\n")
        check("." not in post(lab, "dev2", 5684, PLANT), "CoAP is not off")
        a = raw(lab, "dev1", gateway_tls({"send": [connect().hex()], "wait": 1}))[0]
        check(told(a["heard"]) == [OK], f"without CoAP there is no MQTT: {a}")
    lab.say("empty: off, and the other goes on")


RENEGOTIATE = r"""
{ sleep 2; echo R; sleep 2; } | timeout 20 openssl s_client -tls1_2 -connect "$1:8883" \
    -CAfile operator.pem -cert dev3.pem -key dev3.key 2>&1
"""


def at_the_door(lab):
    """MQTT connections that the daemon has, those that the peer has closed included."""
    return lab.run("gw", "ss", "-Htn", "state", "established", "state", "close-wait", "sport", "=",
                   ":8883", quiet=True).stdout.count("\n")


def limits(lab):
    """MinimumTLS=, MaximumPacketSize=, MaximumConnections=, KeepAlive=, MaximumSessions="""
    text = ("[MQTT]\nMinimumTLS=1.2\nMaximumPacketSize=2K\nMaximumConnections=3\nKeepAlive=10s\n"
            "[CoAP]\nMaximumSessions=1\n")
    with started(lab, text):
        quiet = begin(lab, "dev3", gateway_tls({"cert": "dev3", "send": [
            connect("dev3", keep_alive=600).hex()], "wait": 30}))
        a = raw(lab, "dev1", gateway_tls({"tls": "1.2", "send": [connect().hex()], "wait": 1}))[0]
        check(told(a["heard"]) == [OK], f"TLS 1.2: {a}")
        properties = packets(a["heard"])[0][1]
        check(b"\x27\x00\x00\x08\x00" in properties, f"no maximum packet size: {properties.hex()}")
        check(b"\x13\x00\x0a" in properties, f"no server keep-alive: {properties.hex()}")
        # A topic of one byte: the fixed header takes 3 bytes, the rest before the payload 6.
        sizes = [raw(lab, "dev1", gateway_tls({"wait": 1, "send": [
            connect().hex(), publish("t", b"y" * (size - 9)).hex()]}))[0] for size in (2048, 2049)]
        heard = [told(x["heard"]) for x in sizes]
        check(heard == [[OK, "PUBACK 0x00"], [OK, "DISCONNECT 0x95"]], f"2048 and 2049 bytes: {heard}")
        said = lab.run("dev3", "bash", "-c", RENEGOTIATE, "-", GATEWAY, quiet=True, ok=False).stdout
        check("TLSv1.2" in said and "RENEGOTIATING" in said, f"no TLS 1.2: {said[-300:]}")
        check("no renegotiation" in said, f"renegotiation is not refused: {said[-300:]}")
        lab.say("TLS 1.2, packets up to 2048 bytes, no renegotiation")
        check(wait_until(lambda: at_the_door(lab) == 1, 10), "earlier connections stay")
        room = lab.run("gw", "bash", "-c", "grep FDSize /proc/$(cat /run/daemon.pid)/status",
                       quiet=True).stdout
        check(int(room.split()[1]) > 512, f"descriptors come in the middle of a burst: {room}")
        seen = Reasons(lab, TRANSPORT="mqtt")
        p = begin(lab, "dev1", gateway_tls({"together": 4, "wait": 4}))
        ends = end(p)["ends"]
        check(ends.get("open", 0) == 2, f"of four beside one: {ends}")
        seen.wait("too-many-connections", PEER="10.10.0.11:")
        first = begin(lab, "dev2", dtls([message(POST, ["t", "x"], b"1")] * 2, pause=4, wait=1))
        seen = Reasons(lab, TRANSPORT="coap")
        check(wait_until(lambda: device(lab, "dev2")["sessions"] == 1, 10), "no session")
        got = post(lab, "dev3", 5684, GATEWAY)
        check("." not in got, f"a second session is open: {got}")
        check(wait_until(seen.new, 5), "the journal does not tell that there was no room")
        check(codes(end(first)["heard"]).get(1) == "2.04", "the first session is not served")
        lab.say("of four connections beside one two are open; a second CoAP session is refused")
        a = end(quiet)
        check(told(a["heard"]) == [OK, "DISCONNECT 0x8d"] and 13 < a["seconds"] < 25,
              f"the longest keep-alive: {a}")
        lab.say(f"a device that asked for 600 s and is silent is gone after {a['seconds']} s")


# --- identity ---------------------------------------------------------------------------------------

def shown(lab):
    """The certificate that the gateway shows to devices."""
    said = lab.run("dev1", "bash", "-c", 'openssl s_client -connect "$1:8883" </dev/null 2>/dev/null '
                   "| openssl x509", "-", GATEWAY, quiet=True).stdout
    return x509.load_pem_x509_certificate(said.encode())


def leaf(lab):
    """LeafLifetime=, Names=, TLSKey=: what certificate devices see"""
    with open(os.path.join(lab.dir, "gw1.pem"), "rb") as f:
        identity = x509.load_pem_x509_certificate(f.read())
    check(shown(lab) != identity, "a minted leaf is the identity itself")
    text = "[Identity]\nLeafLifetime=10min\nNames=\nNames=other.example 10.10.0.1\n"
    with started(lab, text) as use:
        c = shown(lab)
        names = c.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        dns = names.get_values_for_type(x509.DNSName)
        addresses = [str(a) for a in names.get_values_for_type(x509.IPAddress)]
        left = (c.not_valid_after - datetime.datetime.utcnow()).total_seconds()
        lab.say(f"names {dns} {addresses}, valid for {left:.0f} s more")
        check((dns, addresses) == (["other.example"], ["10.10.0.1"]), "these are not the names")
        check(400 < left <= 600, f"it is valid for {left} s more")
        use("[Identity]\nTLSKey=tpm\n")
        check(shown(lab) == identity, "with TLSKey=tpm it is not the identity")
        lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "x", "-m", "1",
                              "--insecure"), quiet=True)
        lab.say("TLSKey=tpm: the identity itself, and its key signs in the TPM")


# --- upstream and store -------------------------------------------------------------------------------

# A server that says CONNACK and nothing more, and counts what is published meanwhile.
MUTE = """
import socket, ssl, sys, time
s = socket.create_server(("203.0.113.10", 8883))
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
c.load_cert_chain("broker.pem", "broker.key")
c.load_verify_locations("operator.pem"); c.verify_mode = ssl.CERT_REQUIRED
print("ready", flush=True)
while True:
    p, _ = s.accept()
    try:
        t = c.wrap_socket(p, server_side=True); t.settimeout(3)
        d, n, greeted = b"", 0, False
        while True:
            try: part = t.recv(65536)
            except TimeoutError: break
            if not part: break
            d += part
            if not greeted: t.sendall(bytes([0x20, 3, 0, 0, 0])); greeted = True
            while len(d) > 1:
                size, i, shift = 0, 1, 0
                while i < len(d) and d[i] > 127: size |= (d[i] & 127) << shift; shift += 7; i += 1
                if i >= len(d): break
                size |= d[i] << shift; i += 1
                if len(d) < i + size: break
                n += d[0] >> 4 == 3; d = d[i + size:]
        if n: print(n, flush=True)
    except OSError: pass
"""


def uplink(lab):
    """ClientId=, KeepAlive= and Window= of [Upstream]"""
    with started(lab, "[Upstream]\nClientId=another-name\nKeepAlive=7s\nWindow=2\n"):
        log = os.path.join(lab.dir, "log/broker.log")

        def greeting():
            with open(log) as f:
                return [line for line in f if " as another-name (" in line]
        said = wait_until(greeting, 10)
        check(said and ", k7," in said[-1], f"the broker's log says {said}")
        lab.say(f"the broker: {said[-1].split(': ')[1].strip()}")
        lab.service("stop", "broker")
        try:
            for i in range(5):
                lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "w", "-m", str(i)),
                        quiet=True)
            mute = lab.listen("up", "/usr/bin/python3", "-u", "-c", MUTE)
            check(select.select([mute.stdout], [], [], 60)[0], "nothing is published")
            published = int(mute.stdout.readline())
            lab.say(f"a server that acknowledges nothing gets {published} of the 5 that wait")
            check(published == 2, f"{published} are on their way at once")
        finally:
            lab.close()
            lab.service("start", "broker")
            lab.service("start", "tap")


def fill(lab, name, mark):
    """25 messages of 200 kB; how many were taken and how many refused."""
    sent = [publish(f"fill/{mark}", bytes([i]) * 200000, number=i) for i in range(1, 26)]
    a = raw(lab, name, gateway_tls({"cert": name, "wait": 6, "send": [
        (connect(name) + b"".join(sent)).hex()]}))[0]
    acks = told(a["heard"])[1:]
    check(set(acks) <= {"PUBACK 0x00", "PUBACK 0x97"} and len(acks) == 25, f"{name} hears {acks}")
    return acks.count("PUBACK 0x00"), acks.count("PUBACK 0x97")


def die_with_a_will(lab, name, mark):
    """In a store that has no room for it: 20 messages of 20 kB take what is left."""
    flags, topic = 0x2e, f"will/{mark}"  # clean start, a will with QoS 1, retained
    will = varint(0) + text(topic) + text("w" * 60000)
    sent = [publish(f"rest/{mark}", b"x" * 20000, number=i) for i in range(1, 21)]
    a = raw(lab, name, gateway_tls({"cert": name, "wait": 6, "send": [
        (connect(name, flags=flags, more=will) + b"".join(sent)).hex()]}))[0]
    acks = told(a["heard"])[1:]
    check(set(acks) <= {"PUBACK 0x00", "PUBACK 0x97"} and "PUBACK 0x97" in acks, f"{name} hears {acks}")
    return f"{UPSTREAM}/{name}/{topic}"


def store(lab):
    """[Store] MaximumSize=: what is over it is refused, what was taken arrives, and a will too"""
    mark = f"{os.getpid()}-{time.monotonic_ns()}"
    with started(lab, "[Store]\nMaximumSize=12M\n"):
        lab.service("stop", "broker")
        seen = Reasons(lab, DEVICE="dev3")
        try:
            # By two devices: what one may send in a second is less.
            taken = [fill(lab, name, mark) for name in ("dev1", "dev3")]
            will = die_with_a_will(lab, "dev3", mark)
            lab.service("kill", "daemon")
            lab.service("start", "daemon")
        finally:
            lab.service("start", "broker")
            lab.service("start", "tap")
        # A quarter is for sessions, a quarter for what is being written.
        lab.say(f"twice 25 messages of 200 kB, 10 MB: taken and refused {taken}")
        check(taken[0] == (25, 0) and 0 < taken[1][0] < 25, f"{taken}")
        seen.wait("store-full")
        for (count, _), name in zip(taken, ("dev1", "dev3")):
            topic = f"{UPSTREAM}/{name}/fill/{mark}"
            check(wait_until(lambda t=topic, n=count: sum(x == t for x, _, _ in lab.arrived()) >= n,
                             40), f"what {name} was told to be taken does not arrive")
        # It pauses for up to a minute between tries.
        check(wait_until(lambda: any(x == will for x, _, _ in lab.arrived()), 70), "the will is lost")


# --- what a reload changes --------------------------------------------------------------------------------

def log_level(lab):
    """LogLevel=: debug says more, err says less"""
    found = {}
    for level, last in (("debug", 7), ("info", 6), ("err", None)):
        with configured(lab, f"[Gateway]\nLogLevel={level}\n"):
            before = len(lab.journal(DEVICE="dev1"))

            def said(n=before):
                return {int(e["PRIORITY"]) for e in lab.journal(DEVICE="dev1")[n:]}
            lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "x", "-m", "1"),
                    quiet=True)
            wait_until(lambda: device(lab, "dev1")["sessions"] == 0, 5)
            wait_until(lambda w=last: w is None or w in said(), 5)
            found[level] = said()
    lab.say(f"the priorities of what is said when dev1 connects: {found}")
    check(7 in found["debug"] and 6 in found["info"] and 7 not in found["info"] and
          not found["err"], f"{found}")


def services(lab):
    """Services= of a zone: ping, dns, ntp; of that zone alone"""
    standing = ["udp:53", "tcp:53", "udp:123"]
    lab.listen("gw", PROBE, "--listen", *standing)
    tried = {node: [f"ping:{host}"] + [f"{s.split(':')[0]}:{host}:{s.split(':')[1]}" for s in standing]
             for node, host in (("dev1", GATEWAY), ("dev2", PLANT))}
    def opened(node):
        return [a == "open" for a in probe(lab, node, *tried[node])]
    check(not any(opened("dev1")), "they are open without Services=")
    for words, expected in (("ping", [True, False, False, False]),
                            ("dns", [False, True, True, False]),
                            ("ntp ping", [True, False, False, True])):
        with changed(lab, "sallyport.conf",
                     lambda t, w=words: t.replace("Interface=vl10", f"Interface=vl10\nServices={w}")):
            lab.run("gw", "sallyportctl", "reload")
            got = opened("dev1"), opened("dev2")
        check(got == (expected, [False] * 4), f"Services={words}: {got}")
    lab.run("gw", "sallyportctl", "reload")
    check(not any(opened("dev1")), "they stay open")
    lab.say("ping, dns and ntp each open what they say, and close again")


def telemetry(lab):
    """Telemetry= of a class: in which postures messages are taken"""
    for words, code, answer in (("affirming", "PUBACK 0x87", "4.03"),
                                ("unattested affirming", "PUBACK 0x00", "2.04")):
        with configured(lab, f"[Class sensor]\nTelemetry=\nTelemetry={words}\n"):
            a = raw(lab, "dev1", gateway_tls({"send": [(connect() + publish("t")).hex()], "wait": 1}))[0]
            got = post(lab, "dev2", 5684, PLANT)
        lab.say(f"Telemetry={words}, unattested: {told(a['heard'])[-1]}, {got}")
        check(told(a["heard"]) == [OK, code] and got == answer, f"{words}: {a} {got}")


def rules(lab):
    """Limits of a class: a rate is other in place, other rules end the MQTT session"""
    # Who is too fast is read from later.
    open_ = "[Class sensor]\nTelemetry=unattested affirming\n"
    ends = {}
    with configured(lab, open_):
        for change in ("MessagesPerSecond=1", "MaximumSubscriptions=5", "Subscribe=hall/#",
                       "ClientIds=%d %d/*"):
            check(wait_until(lambda: device(lab, "dev1")["sessions"] == 0, 10), "a session stays")
            p = begin(lab, "dev1", gateway_tls({"send": [connect().hex()], "wait": 3}))
            check(wait_until(lambda: device(lab, "dev1")["sessions"] == 1, 10), "no session")
            with configured(lab, f"{open_}{change}\n"):
                ends[change] = told(end(p)["heard"])[1:]
                if change == "MessagesPerSecond=1":
                    heard = told(raw(lab, "dev1", gateway_tls({"wait": 1, "send": [
                        (connect() + b"".join(publish("t", number=i) for i in range(1, 31))).hex()]}))
                        [0]["heard"])
    good = heard.count("PUBACK 0x00")
    lab.say(f"{ends}; of 30 messages at once {good} are taken within two seconds, with one a second")
    gone = ["DISCONNECT 0x98"]
    check(list(ends.values()) == [[], gone, gone, gone], f"{ends}")
    check(10 <= good <= 13 and len(heard) == 1 + good, f"{heard}")


def pin(lab):
    """CertificateSPKI= of a device: its own key, and no other"""
    with open(os.path.join(lab.pki, "dev1.pem"), "rb") as f:
        key = x509.load_pem_x509_certificate(f.read()).public_key()
    right = hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    seen = Reasons(lab, TRANSPORT="mqtt")
    heard = {}
    for name, value in (("right", right), ("wrong", "00" * 32)):
        with changed(lab, "devices.d/dev1.conf", lambda t, v=value: t + f"CertificateSPKI={v}\n"):
            lab.run("gw", "sallyportctl", "reload")
            a = raw(lab, "dev1", gateway_tls({"send": [connect().hex()], "wait": 1}))[0]
            heard[name] = told(a["heard"])
    lab.run("gw", "sallyportctl", "reload")
    lab.say(f"{heard}")
    check(heard == {"right": [OK], "wrong": []}, f"{heard}")
    seen.wait("pin-mismatch", PEER="10.10.0.11:")


SOURCE = """
table inet story
delete table inet story
table inet story {
        counter own { }
        counter gateway { }
        chain input {
                type filter hook input priority 300;
                ip saddr 10.10.0.13 udp dport 27100 counter name own
                ip saddr 203.0.113.2 udp dport 27100 counter name gateway
        }
}
"""


def egress(lab):
    """EgressUnattested=, EgressWarning=, Masquerade=: what a posture opens, and as whom"""
    firmware = Firmware(lab)
    lab.listen("inet", PROBE, "--listen", "tcp:80", "tcp:81", "tcp:82")
    ways = [f"tcp:{INTERNET}:{port}" for port in (80, 81, 82)]

    def opened():
        return [a == "open" for a in probe(lab, "dev3", *ways)]
    rules = (f"[Class controller]\nEgressUnattested=tcp:{INTERNET}:81\nEgressUnattested=udp:{INTERNET}:27100\n"
             f"EgressWarning=tcp:{INTERNET}:82\n")
    # A new class of device is not the one that earned a posture: dev3 begins anew.
    with changed(lab, "devices.d/dev3.conf", lambda t: None):
        lab.run("gw", "sallyportctl", "reload")
    lab.run("gw", "sallyportctl", "reload")
    lab.run("inet", "nft", "-f", "-", input=SOURCE, quiet=True)
    try:
        for masquerade, counter in (("yes", "gateway"), ("no", "own")):
            with configured(lab, f"{rules}[Egress]\nMasquerade={masquerade}\n"):
                before = lab.counter("inet", counter)
                lab.run("dev3", "bash", "-c", f"echo x >/dev/udp/{INTERNET}/27100", quiet=True)
                check(wait_until(lambda: lab.counter("inet", counter) > before, 5),
                      f"Masquerade={masquerade}: nothing comes from there")
        with configured(lab, rules):
            check(opened() == [False, True, False], f"unattested: {opened()}")
            code = firmware.post(firmware.token({**firmware.claims(firmware.nonce()), 2395: 0x4000}))
            check(code == "2.04" and device(lab, "dev3")["posture"] == "warning", f"{code}")
            check(opened() == [False, False, True], f"warning: {opened()}")
            code = firmware.post(firmware.token(firmware.claims(firmware.nonce())))
            check(opened() == [True, False, False], f"affirming: {code} {opened()}")
        lab.say("each posture opens its own; masqueraded or not")
    finally:
        lab.run("inet", "nft", "delete", "table", "inet", "story", quiet=True)


def nonces(lab):
    """NonceLifetime=: a nonce is good for so long"""
    firmware = Firmware(lab)
    with configured(lab, "[Attestation]\nNonceLifetime=10s\n"):
        late, early = firmware.nonce(), time.monotonic()
        time.sleep(max(0.0, early + 10.3 - time.monotonic()))
        code = firmware.post(firmware.token(firmware.claims(late)))
        check(code == "4.09", f"after 10 s a nonce of 10 s is answered with {code}")
        code = firmware.post(firmware.token(firmware.claims(firmware.nonce())))
        check(code == "2.04", f"a fresh one is answered with {code}")
        lab.say("late: 4.09; in time: 2.04")


STEPS = [listen, limits, leaf, uplink, store, log_level, services, telemetry, rules, pin, egress, nonces,
         *renewal_steps.STEPS]
