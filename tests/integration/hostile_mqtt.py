# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on the MQTT door: bytes, handshakes, slowness and numbers."""

import collections
import json
import os
import subprocess
import time

from lab import check, wait_until
from peers import (Reasons, begin, connect, end, gateway_tls, packet, publish, raw, subscribe,
                   text, told)
from steps import GATEWAY, UPSTREAM, mqtt

OK = "CONNACK 0x00"
PING = packet(0xc0)
# name, what is sent, what is heard, the journal's reason
MALFORMED = [
    ("garbage", [b"\xff\x20 garbage " * 20], [], "protocol-error"),
    ("a remaining length of five bytes", [b"\x10\xff\xff\xff\xff\x01"], [], "malformed-packet"),
    ("PUBLISH before CONNECT", [publish("t")], [], "protocol-error"),
    ("a bad protocol name", [connect(name="MQTX")], [], "malformed-packet"),
    ("protocol level 6", [connect(version=6)], ["CONNACK 0x84"], "unsupported-protocol-version"),
    ("a reserved flag in CONNECT", [connect(flags=3)], ["CONNACK 0x81"], "malformed-packet"),
    ("will QoS 3", [connect(flags=0x1e, more=b"\0" + text("w") + text("x"))], ["CONNACK 0x81"],
     "malformed-packet"),
    ("dev2's client id", [connect("dev2")], ["CONNACK 0x85"], "client-id-not-valid"),
    ("a client id that begins like its own", [connect("dev10")], ["CONNACK 0x85"],
     "client-id-not-valid"),
    ("user name and password", [connect(flags=0xc2, more=text("root") + text("root"))],
     ["CONNACK 0x86"], "bad-user-name-or-password"),
    ("a will at another device's topic",
     [connect(flags=6, more=b"\0" + text("/dev2/x/#") + text("x"))], ["CONNACK 0x90"],
     "topic-name-invalid"),
    ("a second CONNECT", [connect(), connect()], [OK, "DISCONNECT 0x82"], "protocol-error"),
    ("an oversize packet", [connect(), b"\x30\xff\xff\xff\x7f"], [OK, "DISCONNECT 0x95"],
     "packet-too-large"),
    ("a wildcard topic", [connect(), publish("a/#")], [OK, "DISCONNECT 0x90"],
     "topic-name-invalid"),
    ("U+0000 in a topic", [connect(), publish("a\0b")], [OK, "DISCONNECT 0x81"],
     "malformed-packet"),
    ("a surrogate in a topic", [connect(), publish(b"a\xed\xa0\x80")], [OK, "DISCONNECT 0x81"],
     "malformed-packet"),
    ("a topic longer than the packet", [connect(), packet(0x30, b"\xff\xffab")],
     [OK, "DISCONNECT 0x81"], "malformed-packet"),
    ("packet id 0", [connect(), publish("t", number=0)], [OK, "DISCONNECT 0x82"],
     "protocol-error"),
    ("a property twice", [connect(), publish("t", properties=b"\x01\0\x01\0")],
     [OK, "DISCONNECT 0x82"], "protocol-error"),
    ("an unknown property", [connect(), publish("t", properties=b"\x7f\0")],
     [OK, "DISCONNECT 0x81"], "malformed-packet"),
    ("topic alias 0", [connect(), publish("t", properties=b"\x23\0\0")], [OK, "DISCONNECT 0x94"],
     "topic-alias-invalid"),
    ("topic alias 65535", [connect(), publish("t", properties=b"\x23\xff\xff")],
     [OK, "DISCONNECT 0x94"], "topic-alias-invalid"),
    ("an alias that was never given", [connect(), publish("", properties=b"\x23\0\x01")],
     [OK, "DISCONNECT 0x82"], "protocol-error"),
    ("QoS 3", [connect(), publish("t", qos=3)], [OK, "DISCONNECT 0x81"], "malformed-packet"),
    ("SUBSCRIBE without topics", [connect(), subscribe()], [OK, "DISCONNECT 0x82"],
     "protocol-error"),
    ("reserved flags of SUBSCRIBE", [connect(), subscribe("a", first=0x80)],
     [OK, "DISCONNECT 0x81"], "malformed-packet"),
    ("reserved subscription options", [connect(), subscribe("a", options=0xc1)],
     [OK, "DISCONNECT 0x81"], "malformed-packet"),
    ("a broken filter", [connect(), subscribe("a/#/b")], [OK, "DISCONNECT 0x81"],
     "malformed-packet"),
    ("reserved flags of PINGREQ", [connect(), packet(0xc1)], [OK, "DISCONNECT 0x81"],
     "malformed-packet"),
    ("a server's packet", [connect(), packet(0x20, b"\0\0\0")], [OK, "DISCONNECT 0x82"],
     "protocol-error"),
    ("AUTH", [connect(), packet(0xf0, b"\x18\0")], [OK, "DISCONNECT 0x82"], "protocol-error"),
    ("packet type 0", [connect(), packet(0)], [OK, "DISCONNECT 0x81"], "malformed-packet"),
]


def malformed(lab):
    """MQTT packets that are none: each ends its own connection, with a reason"""
    seen = Reasons(lab, DEVICE="dev1")
    answers = raw(lab, "dev1", *(gateway_tls({"send": [b"".join(sent).hex()]})
                                 for _, sent, _, _ in MALFORMED))
    wrong = [f"{name}: heard {told(a['heard'])}, {a['end']}, not {heard}"
             for (name, _, heard, _), a in zip(MALFORMED, answers)
             if told(a["heard"]) != heard or a["end"] not in ("eof", "reset")]
    check(not wrong, "; ".join(wrong))
    # A device has so many lines in the journal and no more: what is there is in the right order.
    wanted = iter(reason for *_, reason in MALFORMED)
    logged = wait_until(lambda: (lambda r: r if len(r) >= 5 else None)(
        [e["REASON"] for e in seen.new() if "REASON" in e]), 5)
    check(logged and all(r in wanted for r in logged), f"the journal says {logged}")
    check(all(e.get("PEER", "").startswith("10.10.0.11:") for e in seen.new() if "REASON" in e),
          "an entry of the journal does not say who it was")
    lab.say(f"{len(MALFORMED)} kinds: reason code and close for each; "
            f"{len(logged)} with REASON= and PEER= in the journal, the others over its limit")



def foreign_topics(lab):
    """A device that publishes and subscribes where it may not"""
    mark = f"foreign {os.getpid()}"
    topics = ["$SYS/x", "rats/dev1/x", "rats/dev2/x", f"{UPSTREAM}/dev2/x", "../dev2/x",
              "dev2/x", "/dev2/x"]
    seen = Reasons(lab, DEVICE="dev1")
    sent = [connect()] + [publish(t, mark.encode(), number=i) for i, t in enumerate(topics, 1)]
    filters = ["$SYS/#", "rats/dev2/#", "$share/g/dev2/t"]
    sent += [subscribe(f, number=20 + i) for i, f in enumerate(filters)]
    a = raw(lab, "dev1", gateway_tls({"send": [b"".join(sent).hex()]}))[0]
    heard = told(a["heard"])
    lab.say(f"heard: {', '.join(heard)}")
    # What is stored is acknowledged when it is durable: after the SUBACKs.
    acks = [w for w in heard if w.startswith("PUBACK")]
    check(acks == [f"PUBACK {c}" for c in ("0x87", "0x90", "0x87", "0x00", "0x00", "0x87", "0x00")],
          f"heard {heard}")
    check([w for w in heard if w.startswith("SUBACK")] ==
          ["SUBACK 0x87", "SUBACK 0x87", "SUBACK 0x87"], f"heard {heard}")
    seen.wait("reserved-topic", PEER="10.10.0.11:")
    time.sleep(0.5)
    came = [t for t, _, p in lab.arrived() if p == mark.encode()]
    lab.say(f"upstream: {', '.join(came) or 'none'}")
    outside = [t for t in came if not t.startswith(f"{UPSTREAM}/dev1/")]
    check(not outside, f"it published to {outside}")


def make_certificates(lab):
    """Certificates that must not open the door, made with the lab's authorities."""
    if os.path.exists(os.path.join(lab.pki, "huge.pem")):
        return
    script = r"""
    set -e; umask 077
    leaf() { # NAME CA SUBJECT-NAME MORE...
        local n=$1 ca=$2 cn=$3; shift 3
        openssl ecparam -name prime256v1 -genkey -noout -out $n.key
        openssl req -new -key $n.key -subj "/CN=$cn" -out $n.csr
        printf 'extendedKeyUsage=%s\nsubjectAltName=DNS:%s\n' "${eku-clientAuth}" "$cn" >$n.ext
        openssl x509 -req -in $n.csr -CA $ca.pem -CAkey $ca.key -set_serial 0x$(openssl rand -hex 8) \
            -extfile $n.ext -out $n.pem "$@" 2>/dev/null
    }
    leaf stranger devices dev9 -days 30
    eku=serverAuth leaf purpose devices dev1 -days 30
    eku=serverAuth leaf misnamed operator other.lab.example -days 30
    leaf own-ca operator dev1 -days 30
    openssl ecparam -name prime256v1 -genkey -noout -out self.key
    openssl req -x509 -new -key self.key -subj /CN=dev1 -days 30 -out self.pem
    openssl ecparam -name prime256v1 -genkey -noout -out expired.key
    openssl req -new -key expired.key -subj /CN=dev1 -out expired.csr
    rm -rf ca && mkdir ca && touch ca/index && echo 7001 >ca/serial
    printf '[ca]\ndefault_ca=d\n[d]\ndatabase=ca/index\nserial=ca/serial\nnew_certs_dir=ca\ndefault_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\nextendedKeyUsage=clientAuth\nsubjectAltName=DNS:dev1\n' >ca/conf
    openssl ca -batch -config ca/conf -cert devices.pem -keyfile devices.key -in expired.csr \
        -startdate 20200101000000Z -enddate 20200201000000Z -out expired.pem -notext 2>/dev/null
    # A chain far longer than anybody needs.
    up=devices
    for i in $(seq 12); do
        openssl ecparam -name prime256v1 -genkey -noout -out chain$i.key
        openssl req -new -key chain$i.key -subj /CN=chain$i -out chain$i.csr
        printf 'basicConstraints=critical,CA:TRUE\n' >chain$i.ext
        openssl x509 -req -in chain$i.csr -CA $up.pem -CAkey $up.key -set_serial $i -days 30 \
            -extfile chain$i.ext -out chain$i.pem 2>/dev/null
        up=chain$i
    done
    leaf deep chain12 dev1 -days 30
    for i in $(seq 12 -1 1); do cat chain$i.pem; done >>deep.pem
    cp dev1.key huge.key; cp dev1.pem huge.pem
    for i in $(seq 200); do cat devices.pem; done >>huge.pem
    """
    p = subprocess.run(["bash", "-c", script], cwd=lab.pki, capture_output=True, text=True,
                       timeout=60)
    check(p.returncode == 0, f"cannot make certificates: {p.stderr[-300:]}")


# certificate, what the peer hears in the end (a TLS alert, or a close), the journal's reason
STRANGERS = [
    (None, "CERTIFICATE_REQUIRED", "no-certificate"),
    ("expired", "CERTIFICATE_EXPIRED", "expired"),
    ("liar", "UNKNOWN_CA", "unknown-ca"),
    ("own-ca", "UNKNOWN_CA", "unknown-ca"),
    ("self", "UNKNOWN_CA", "unknown-ca"),
    ("purpose", "", "wrong-purpose"),
    ("stranger", "eof", "unknown-device"),
    ("dev2", "eof", "wrong-address"),
    ("deep", "", "chain-too-long"),
    ("huge", "", None),
]


def strangers(lab):
    """Certificates that prove nothing here, and peers without TLS"""
    make_certificates(lab)
    seen = Reasons(lab, TRANSPORT="mqtt")
    hello = connect().hex()
    cases = [gateway_tls({"cert": c, "send": [hello]}) for c, _, _ in STRANGERS]
    cases += [gateway_tls({"tls": "1.2", "send": [hello]}),
              gateway_tls({"plain": True, "send": [hello]}),
              gateway_tls({"plain": True, "send": [b"GET / HTTP/1.1\r\n\r\n".hex()]})]
    answers = raw(lab, "dev1", *cases)
    for (name, ended, reason), a in zip(STRANGERS, answers):
        lab.say(f"{name or 'no certificate'}: {a['end']}; journal: {reason}")
        check(not a["heard"], f"{name} heard {told(a['heard'])}")
        check(ended in a["end"] and a["end"] not in ("open", "timeout"), f"{name} ended: {a['end']}")
        if reason:
            seen.wait(reason, PEER="10.10.0.11:")
    check("PROTOCOL_VERSION" in answers[-3]["end"].upper(), f"TLS 1.2 ended: {answers[-3]['end']}")
    seen.wait("protocol-version", PEER="10.10.0.11:")
    check(all(a["end"] in ("eof", "reset") for a in answers[-2:]), f"plain text: {answers[-2:]}")
    seen.wait("not-tls", PEER="10.10.0.11:")
    check(len(seen.new()) >= len(cases) - 1, f"{len(cases)} refusals, {len(seen.new())} entries")


def slow(lab):
    """Slow peers: a handshake and a CONNECT at one byte a second, 200 half-open connections"""
    seen = Reasons(lab, TRANSPORT="mqtt")
    mine = Reasons(lab, DEVICE="dev3")
    slowly = {"trickle": True, "pause": 1, "wait": 6}
    client_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".hex()
    runs = [begin(lab, "dev3", gateway_tls({"cert": "dev3", "send": [connect("dev3").hex()],
                                            **slowly})),
            begin(lab, "dev3", gateway_tls({"plain": True, "send": [client_hello], **slowly}))]
    # A client that agreed on five seconds and says nothing more: one and a half times that.
    runs.append(begin(lab, "dev3", gateway_tls({
        "cert": "dev3", "send": [connect("dev3/quiet", keep_alive=5).hex()], "wait": 14})))
    time.sleep(1.5)
    runs.append(begin(lab, "dev3", gateway_tls({"plain": True, "wait": 14, "together": 200})))
    time.sleep(1.5)
    began = time.monotonic()
    lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "meanwhile", "-m", "1"))
    took = time.monotonic() - began
    lab.say(f"dev1 publishes meanwhile, in {took:.1f} s")
    check(took < 4, f"dev1 waits {took:.1f} s for the slow ones")
    ends = [end(p) for p in runs]
    lab.say(f"CONNECT: {ends[0]['end']} after {ends[0]['seconds']} s; handshake: {ends[1]['end']} "
            f"after {ends[1]['seconds']} s; silent: {told(ends[2]['heard'])} after "
            f"{ends[2]['seconds']} s; half-open: {ends[3]['ends']}")
    check(ends[0]["end"] == "eof" and ends[0]["seconds"] < 13, f"slow CONNECT: {ends[0]}")
    check(ends[1]["end"] in ("eof", "reset") and ends[1]["seconds"] < 13, f"slow hello: {ends[1]}")
    check(told(ends[2]["heard"]) == [OK, "DISCONNECT 0x8d"] and 7 <= ends[2]["seconds"] < 11,
          f"keep-alive: {ends[2]}")
    check(set(ends[3]["ends"]) <= {"eof", "reset"}, f"half-open: {ends[3]['ends']}")
    seen.wait("too-many-handshakes", PEER="10.10.0.13:")
    seen.wait("timeout", PEER="10.10.0.13:")
    check(len(mine.wait("keep-alive-timeout", PEER="10.10.0.13:")) == 2, "not both in the journal")


def numbers(lab):
    """A storm of take-overs and more connections than one device may have"""
    a = raw(lab, "dev3", gateway_tls({"cert": "dev3", "send": [connect("dev3").hex()], "wait": 3,
                                      "together": 40}))[0]
    lab.say(f"40 connections of dev3 with one client id: {a['ends']}")
    check(a["ends"].get("open", 0) <= 1, f"{a['ends']} with one client id stay")
    heard = [w for h in a["heard"] for w in told(h)]
    check("DISCONNECT 0x8e" in heard, "nobody hears that its session was taken over")

    seen = Reasons(lab, DEVICE="dev3")
    held = [begin(lab, "dev3", gateway_tls({"cert": "dev3", "send": [connect(f"dev3/{i}").hex()],
                                            "wait": 6})) for i in range(12)]
    ends = [end(p) for p in held]
    heard = collections.Counter(told(e["heard"])[0] for e in ends)
    lab.say(f"12 client ids: {dict(heard)}")
    check(heard == {OK: 8, "CONNACK 0x97": 4}, "a device has another number of sessions than 8")
    # The take-overs may have used up dev3's lines in the journal: then it says that.
    check(wait_until(lambda: [e for e in seen.new() if e.get("REASON") == "quota-exceeded" or
                              "were not logged" in e["MESSAGE"]], 12),
          f"the journal has neither quota-exceeded nor a word about lines that are left out: "
          f"{[e['MESSAGE'] for e in seen.new()]}")

    refused = Reasons(lab, TRANSPORT="mqtt")
    p = begin(lab, "dev3", gateway_tls({"cert": "dev3", "wait": 3, "together": 40}))
    time.sleep(1)
    began = time.monotonic()
    lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "meanwhile", "-m", "2"))
    check(time.monotonic() - began < 3, "dev1 has to wait")
    ends = end(p)["ends"]
    lab.say(f"40 connections without CONNECT: {ends}")
    check(0 < ends.get("open", 0) <= 16, "a device may hold more than 16 connections")
    check([e for e in refused.new() if e.get("REASON", "").startswith("too-many-")],
          "the journal does not say that there were too many")


class Deaf:
    """A device that subscribes to what it publishes and never reads an answer."""

    SCRIPT = """
import json, socket, ssl, sys, time
a = json.load(sys.stdin)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
c.load_verify_locations("operator.pem"); c.check_hostname = False
c.load_cert_chain("dev3.pem", "dev3.key")
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
s.connect((a["host"], 8883)); t = c.wrap_socket(s); t.settimeout(8)
t.sendall(bytes.fromhex(a["first"])); n = 0
try:
    while n < a["most"]:
        t.sendall(bytes.fromhex(a["again"])); n += 1
except (TimeoutError, OSError) as e:
    print("stopped", n, type(e).__name__)
else:
    print("all", n, "-")
time.sleep(1)
"""


def deaf(lab):
    """A subscriber that never reads what it is sent"""
    first = connect("dev3") + subscribe("loop")
    again = publish("loop", b"y" * 60000, qos=0)
    p = lab.run("dev3", "/usr/bin/python3", "-c", Deaf.SCRIPT, quiet=True, timeout=60,
                input=json.dumps({"host": GATEWAY, "first": first.hex(), "again": again.hex(),
                                  "most": 1000}))
    lab.say(f"60 kB messages to itself: {p.stdout.strip()}")
    rss = lab.run("gw", "bash", "-c", "grep VmRSS /proc/$(cat /run/daemon.pid)/status",
                  quiet=True).stdout.split()[1]
    lab.say(f"the daemon holds {int(rss) // 1024} MB (with the sanitizer's own)")
    check(int(rss) < 600 * 1024, f"the daemon holds {rss} kB")
