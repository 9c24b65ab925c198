# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks from above and from within: the upstream, the control interface, the configuration."""

import json
import os
import time

from hostile_mqtt import make_certificates
from lab import check, wait_until
from peers import PLANT, begin, connect, end, gateway_tls, publish, told
from steps import UPSTREAM, coap, mqtt, ruleset

BUS = ["org.sallyport.Gateway1", "/org/sallyport/Gateway1", "org.sallyport.Gateway1"]


def status(lab):
    return json.loads(lab.run("gw", "sallyportctl", "--json", "status", quiet=True).stdout)


def upstream_publish(lab, topic, *more, data=None):
    return lab.run("up", "mosquitto_pub", "-V", "mqttv5", "-h", "203.0.113.10", "-p", "8883",
                   "--cafile", "operator.pem", "--cert", "observer.pem", "--key", "observer.key",
                   "-t", topic, *more, quiet=True, input=data)


def junk(lab):
    """The upstream sends garbage: nonces that are none, huge messages, retained junk everywhere"""
    topic = f"{UPSTREAM}/gateway/rats/nonce"
    for data in ("x", "y" * 65, "\ud7ff" * 40, "z" * 300_000):
        upstream_publish(lab, topic, "-s", "-q", "1", data=data)
    upstream_publish(lab, topic, "-r", "-s", "-q", "1", data="r" * 2_000_000)
    kept = [topic] + [f"{UPSTREAM}/{t}" for t in (
        "dev1/cmd/x", "dev3/rats/evidence", "gateway/config", "dev2/t", "gateway/rats/x")]
    for t in kept:
        upstream_publish(lab, t, "-r", "-q", "1", "-m", "retained junk")
    lab.service("stop", "broker")
    lab.service("start", "broker")
    check(wait_until(lambda: status(lab)["upstream"]["connected"], 20),
          f"the uplink does not come back: {status(lab)['upstream']}")
    for t in kept:
        upstream_publish(lab, t, "-r", "-n")
    entries = [e for e in lab.journal(PRIORITY="4") if "nonce" in e["MESSAGE"]]
    check(entries, "the journal does not say that a nonce was none")
    lab.say(f"journal: {entries[-1]['MESSAGE']}")


# Whose certificate each attempt is shown, and what the journal says of it. The last is the broker's
# own: there somebody hangs up in the middle.
IMPOSTORS = [("liar", "unable to get local issuer"), ("misnamed", "is not for the name"),
             ("observer", "purpose"), ("broker", "ended the connection")]

SERVER = """
import socket, ssl, sys
s = socket.create_server(("203.0.113.10", 8883))
names = sys.argv[1:]
while True:
    p, _ = s.accept()
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    c.load_cert_chain(names[0] + ".pem", names[0] + ".key")
    names = names[1:] or names
    try:
        with c.wrap_socket(p, server_side=True) as t:
            t.recv(65536)
            t.sendall(bytes([0x20, 9, 0]))
    except OSError:
        pass
"""


def said_since(lab, before, word):
    return [e["MESSAGE"] for e in lab.journal(_COMM="sallyportd")[before:]
            if "upstream" in e["MESSAGE"] and word in e["MESSAGE"]]


def impostors(lab):
    """Brokers that are not the broker: a foreign CA, a wrong name, one that hangs up"""
    make_certificates(lab)
    before = len(lab.journal(_COMM="sallyportd"))
    lab.service("stop", "tap")
    lab.service("stop", "broker")
    value = f"waits {os.getpid()}"
    try:
        lab.start("up", "/usr/bin/python3", "-c", SERVER, *(n for n, _ in IMPOSTORS), quiet=True)
        lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "waits", "-m", value),
                quiet=True)
        for name, word in IMPOSTORS:
            said = wait_until(lambda w=word: said_since(lab, before, w), 25)
            check(said, f"{name}: the journal does not say \"{word}\"")
            check(not status(lab)["upstream"]["connected"], f"{name} is taken for the broker")
            lab.say(f"{name}.pem: {said[-1]}")
    finally:
        lab.close()
        lab.service("start", "broker")
        lab.service("start", "tap")
    lab.wait_arrived(lambda t, p: p == value.encode(), "what waited", 40)
    lab.say("what dev1 published meanwhile arrives when the real broker is back")


def control(lab):
    """Who may not control it is refused; senseless arguments are answered, not obeyed"""
    nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    for call in (["Status"], ["Why", "s", "dev1"], ["Quarantine", "ss", "dev1", "x"],
                 ["Release", "s", "dev3"], ["Reload"]):
        p = lab.run("gw", *nobody, "busctl", "--system", "call", *BUS, *call, quiet=True, ok=False)
        check(p.returncode != 0 and "denied" in p.stderr, f"{call[0]} by nobody: {p.stderr}")
    lab.say("Status, Why, Quarantine, Release, Reload by an unprivileged user: access denied")
    for call in (["Why", "s", "dev99"], ["Why", "s", "x" * 100000], ["Why", "s", "\n\x1b[2J"],
                 ["Why"], ["Why", "u", "7"], ["Quarantine", "ss", "dev1", "y" * 5000],
                 ["Quarantine", "ss", "dev1", "two\nlines"],
                 ["Quarantine", "ss", "dev1", "\x1b[2J"],
                 ["Quarantine", "s", "dev1"], ["Quarantine", "ss", "", ""], ["Nonsense"]):
        p = lab.run("gw", "busctl", "call", *BUS, *call, quiet=True, ok=False)
        check(p.returncode != 0, f"{call[0]} with such arguments is obeyed: {p.stdout}")
    p = lab.run("gw", "sallyportctl", "why", "dev99", ok=False)
    check(p.returncode != 0 and "no device of this name" in p.stderr, f"it says {p.stderr}")
    quarantined = status(lab)["devices"]["quarantined"]
    check(quarantined == 0, f"{quarantined} devices are quarantined")


# What is broken, the file of it, its text; "MAIN" stands for the lab's own file.
DEVICE = "[Device]\nZone=field\nClass=sensor\nCertificateName=dev8\n"
# RFC 8410 section 10.1.
ED25519 = """-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=
-----END PUBLIC KEY-----
"""
BROKEN = [
    ("a line without =", "sallyport.conf", "MAIN\n[MQTT]\nnonsense\n"),
    ("an unknown section", "sallyport.conf", "MAIN\n[Nonsense]\nA=1\n"),
    ("an unknown key", "sallyport.conf", "MAIN\n[MQTT]\nListne=1\n"),
    ("a number out of range", "sallyport.conf", "MAIN\n[MQTT]\nMaximumConnections=0\n"),
    ("a size that is none", "sallyport.conf", "MAIN\n[MQTT]\nMaximumPacketSize=much\n"),
    ("a section that is not closed", "sallyport.conf", "MAIN\n[MQTT\nKeepAlive=60\n"),
    ("a key before any section", "sallyport.conf", "Name=x\nMAIN\n"),
    ("a zone name with a slash", "sallyport.conf", "MAIN\n[Zone a/b]\nInterface=vl30\n"),
    ("an egress rule that is none", "sallyport.conf", "MAIN\n[Class bad]\nEgress=tcp:any:port\n"),
    ("an address that is none", "sallyport.conf", "MAIN\n[MQTT]\nListen=300.1.1.1:8883\n"),
    ("a port that is none", "sallyport.conf", "MAIN\n[CoAP]\nListen=[::]:99999\n"),
    ("bytes that are not UTF-8", "sallyport.conf", b"MAIN\n[Gateway]\nName=\xff\xfe\n"),
    ("a device in no zone", "devices.d/dev8.conf", DEVICE.replace("field", "nowhere")),
    ("a device of no class", "devices.d/dev8.conf", DEVICE.replace("sensor", "nothing")),
    ("an address of another device", "devices.d/dev8.conf", DEVICE + "Address=10.10.0.11\n"),
    ("a MAC that is none", "devices.d/dev8.conf", DEVICE + "HardwareAddress=02:00\n"),
    ("a certificate name taken twice", "devices.d/dev8.conf", DEVICE.replace("dev8", "dev1")),
    ("a key file that is missing", "devices.d/dev8.conf", DEVICE + "AttestationKey=/none\n"),
    ("a key that signs no PSA token", "dev3-iak.pub", ED25519),
]


def write_broken(lab, file, text):
    """Puts it in place; hands out what puts the old state back."""
    path = os.path.join(lab.dir, "gw/etc/sallyport", file)
    old = open(path, "rb").read() if os.path.exists(path) else None
    data = text if isinstance(text, bytes) else text.encode()
    with open(path, "wb") as f:
        f.write(data.replace(b"MAIN", old or b""))

    def restore():
        if old is None:
            os.remove(path)
        else:
            with open(path, "wb") as f:
                f.write(old)
    return restore


def configuration(lab):
    """Broken configurations are refused with file and line, and change nothing"""
    before, rules = status(lab)["devices"]["total"], comparable(ruleset(lab))
    for name, file, text in BROKEN:
        restore = write_broken(lab, file, text)
        try:
            p = lab.run("gw", "sallyportd", "--check", quiet=True, ok=False)
            said = (p.stderr + p.stdout).strip()
            check(p.returncode not in (0, 124, 139) and not p.returncode < 0,
                  f"{name}: --check ends with {p.returncode}: {said[-300:]}")
            check(any(f"{file}:" in line for line in said.splitlines()),
                  f"{name}: no file and line in {said[-300:]!r}")
            q = lab.run("gw", "sallyportctl", "reload", quiet=True, ok=False)
            check(q.returncode != 0, f"{name}: reload takes it")
        finally:
            restore()
    check(status(lab)["devices"]["total"] == before, "the number of devices changed")
    check(comparable(ruleset(lab)) == rules, "the packet filter changed")
    lab.run("gw", "sallyportd", "--check", quiet=True)
    lab.say(f"{len(BROKEN)} of them: file and line, reload refused, the filter is as before")


def comparable(rules):
    """The rules without their counters and clocks."""
    return [[w for w in line.split() if not w.rstrip("smhd").isdigit()]
            for line in rules.splitlines() if "packets" not in line and "expires" not in line]


def removed(lab):
    """A device that is taken out of the configuration loses its session and its place"""
    path = os.path.join(lab.dir, "gw/etc/sallyport/devices.d/dev2.conf")
    aside = os.path.join(lab.dir, "dev2.conf")
    value = f"still here {os.getpid()} {time.monotonic_ns()}".encode()
    sent = [connect("dev2").hex(), publish("here", value, qos=0).hex()]
    p = begin(lab, "dev2", gateway_tls({"cert": "dev2", "send": sent, "wait": 20}, PLANT))
    # The journal tells of a TLS connection; only a message proves that it became a session.
    lab.wait_arrived(lambda t, data: data == value, "dev2's message", 10)
    os.rename(path, aside)
    try:
        lab.run("gw", "sallyportctl", "reload")
        answer = end(p)
        lab.say(f"dev2 hears {told(answer['heard'])} after {answer['seconds']} s")
        check(told(answer["heard"]) == ["CONNACK 0x00", "DISCONNECT 0x98"], f"it hears {answer}")
        check("10.20.0.12" not in ruleset(lab), "the filter still knows dev2")
        lab.run("dev2", *coap("dev2", "post", "/t/x", "-B", "2", "-t", "0", "-e", "removed",
                              gateway=PLANT), ok=False)
        time.sleep(0.3)
        check(not [m for m in lab.arrived() if m[2] == b"removed"], "dev2's message arrives")
    finally:
        os.rename(aside, path)
        lab.run("gw", "sallyportctl", "reload")
