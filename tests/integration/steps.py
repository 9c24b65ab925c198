# SPDX-License-Identifier: GPL-3.0-or-later
"""The steps of the story. Each is one function; the first line of its text is its title."""

import collections
import json
import os
import re
import tempfile
import threading
import time

import cbor2

import reload
from lab import TOOLS, Failure, check, wait_until

GATEWAY = "10.10.0.1"
UPSTREAM = "plant/gw1"  # TopicPrefix and Name of the lab's gateway
PROBE = os.path.join(TOOLS, "probe")
STREAM = os.path.join(TOOLS, "stream")
INTERNET = "198.51.100.7"
CUT_MS = 100


# --- the devices' clients ---------------------------------------------------------------------

def mqtt(program, name, *more, gateway=GATEWAY, version="mqttv5", client=None):
    return [program, "-V", version, "-h", gateway, "-p", "8883", "--cafile", "operator.pem",
            "--cert", f"{name}.pem", "--key", f"{name}.key", "-i", client or name, *more]


def coap(name, method, path, *more, gateway=GATEWAY):
    return ["coap-client-openssl", "-B", "10", "-m", method, "-c", f"{name}.pem",
            "-j", f"{name}.key", "-C", "operator.pem", *more, f"coaps://{gateway}{path}"]


def post(lab, name, path, *more, gateway=GATEWAY):
    """Posts and hands out what came back; coap-client tells an error on standard error only."""
    answer = lab.run(name, *coap(name, "post", path, *more, gateway=gateway))
    check(not re.match(r"^[45]\.\d\d", answer.stderr.strip()),
          f"{path} is answered with {answer.stderr.strip()}")
    return answer.stdout


def nonce(lab, name):
    """A fresh nonce for a device."""
    with tempfile.NamedTemporaryFile() as f:
        lab.run(name, *coap(name, "get", "/.well-known/est/nonce", "-o", f.name))
        return cbor2.load(f)["nonce"]


def attest(lab, name, application="application.bin"):
    """The device fetches a nonce and posts its token; hands out the time the post was sent."""
    token = os.path.join(lab.pki, f"{name}.token")
    lab.run(name, os.path.join(TOOLS, "psa-token"), "make", "--key", f"{name}-iak.key",
            "--nonce", nonce(lab, name).hex(),
            "--component", "name=bootloader,version=1.0,file=bootloader.bin",
            "--component", f"name=application,version=1.0,file={application}", "--output", token)
    began = time.monotonic_ns()
    post(lab, name, "/rats/evidence", "-t", "10003", "-f", token)
    return began


def device(lab, name):
    """What the gateway says of a device, as JSON."""
    return json.loads(lab.run("gw", "sallyportctl", "why", "--json", name, quiet=True).stdout)


# --- steps --------------------------------------------------------------------------------------

def mqtt_telemetry(lab):
    """dev1 publishes with MQTT 5 and QoS 1"""
    lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "temperature", "-m", "21.5"))
    topic, qos, payload = lab.wait_arrived(lambda t, p: t == f"{UPSTREAM}/dev1/temperature",
                                           "dev1's temperature")
    check(payload == b"21.5", f"upstream got {payload!r}")
    check(qos == 1, f"upstream got it with QoS {qos}")
    lab.say(f"upstream: {topic} {payload.decode()}")


def coap_telemetry(lab):
    """dev2 posts over CoAP on DTLS"""
    post(lab, "dev2", "/t/pressure", "-t", "0", "-e", "1013", gateway="10.20.0.1")
    topic, _, payload = lab.wait_arrived(lambda t, p: t == f"{UPSTREAM}/dev2/pressure",
                                         "dev2's pressure")
    check(payload == b"1013", f"upstream got {payload!r}")
    lab.say(f"upstream: {topic} {payload.decode()}")


# Services that stand on every host of the lab during the probing: what does not answer was kept
# away by the gateway, not missing.
SERVICES = ["tcp:22", "tcp:80", "tcp:1883", "tcp:5683", "tcp:50000", "udp:53", "udp:67", "udp:123",
            "udp:5683", "udp:50000", "proto:253"]


def targets(host):
    bracketed = f"[{host}]" if ":" in host else host
    return [f"ping:{bracketed}"] + [
        f"{kind}:{bracketed}:{port}" for kind, port in (s.split(":") for s in SERVICES)]


def answers(lab, node, hosts):
    tried = [t for host in hosts for t in targets(host)]
    lines = lab.run(node, PROBE, *tried, quiet=True, timeout=60).stdout.splitlines()
    check(len(lines) == len(tried), "the probe says less than it was asked")
    return {t: a for t, a in (line.split() for line in lines) if a != "silent"}


COUNT_DEV3 = """
table inet story
delete table inet story
table inet story {
        counter from_dev3 { }
        chain input {
                type filter hook input priority -300;
                ip saddr 10.10.0.13 counter name from_dev3
                ip6 saddr fd00:10::13 counter name from_dev3
                ip saddr 203.0.113.2 meta l4proto { icmp, 253 } counter name from_dev3
                ip saddr 203.0.113.2 udp dport { 53, 67, 123, 5683, 50000 } counter name from_dev3
                ip saddr 203.0.113.2 tcp dport { 22, 80, 1883, 5683, 50000 } counter name from_dev3
        }
}
"""


def confined(lab):
    """dev3 has shown nothing yet: it reaches the gateway's two ports and nothing else"""
    elsewhere = {"dev1": ["10.10.0.11", "fd00:10::11"], "dev2": ["10.20.0.12", "fd00:20::12"],
                 "inet": [INTERNET, "2001:db8::7"], "up": ["203.0.113.10", "2001:db8:ffff::10"]}
    own = [GATEWAY, "fd00:10::1", "10.20.0.1", "203.0.113.2"]
    for node in ("gw", *elsewhere):
        lab.listen(node, PROBE, "--listen", *SERVICES)
    check_probes(lab, elsewhere, own)
    for node in elsewhere:
        lab.run(node, "nft", "-f", "-", input=COUNT_DEV3, quiet=True)
    try:
        probe_elsewhere(lab, elsewhere)
    finally:
        for node in elsewhere:
            lab.run(node, "nft", "delete", "table", "inet", "story", quiet=True)
    probe_gateway(lab, own)


def check_probes(lab, elsewhere, own):
    """The control: seen from the gateway itself every one of these answers."""
    hosts = [h for hosts in elsewhere.values() for h in hosts] + own
    answered = answers(lab, "gw", hosts)
    deaf = [t for h in hosts for t in targets(h) if answered.get(t) != "open"]
    check(not deaf, f"the gateway itself does not reach {deaf[:5]}: nothing can be concluded")


def probe_elsewhere(lab, elsewhere):
    hosts = [h for hosts in elsewhere.values() for h in hosts]
    lab.say(f"dev3 tries {len(hosts) * len(targets(''))} ways to {', '.join(elsewhere)}: ping, TCP,"
            " UDP, another IP protocol; IPv4 and IPv6")
    answered = answers(lab, "dev3", hosts)
    passed = {node: lab.counter(node, "from_dev3") for node in elsewhere}
    lab.say("answered: none" if "open" not in answered.values() else f"answered: {answered}")
    lab.say(f"packets of dev3 that arrived there: {sum(passed.values())}")
    check("open" not in answered.values(), f"dev3 reaches {answered}")
    check(not any(passed.values()), f"packets of dev3 arrived: {passed}")


def probe_gateway(lab, own):
    answered = answers(lab, "dev3", own)
    check("open" not in answered.values(), f"dev3 reaches on the gateway {answered}")
    lab.show("dev3", [PROBE, "--scan", GATEWAY])
    for address in own:
        ports = lab.run("dev3", PROBE, "--scan", address, quiet=True, timeout=60).stdout.split()
        lab.say(f"of 65535 TCP ports of {address} these take a connection: {' '.join(ports) or '-'}")
        check(set(ports) <= {"8883"}, f"open on {address}: {ports}")
        check(ports == ["8883"] or address != GATEWAY, "8883 does not take a connection")
    post(lab, "dev3", "/t/hello", "-t", "0", "-e", "hello")
    lab.say("8883 (MQTT) and 5684 (CoAP) answer")


def ruleset(lab):
    return lab.run("gw", "nft", "list", "ruleset", quiet=True).stdout


def attested(lab):
    """dev3 fetches a nonce and posts a genuine PSA token: its egress opens"""
    before = lab.run("dev3", PROBE, f"tcp:{INTERNET}:80", quiet=True).stdout
    check("open" not in before, "it was open before")
    lab.listen("inet", PROBE, "--listen", "tcp:80", "tcp:22")
    attest(lab, "dev3")
    state = device(lab, "dev3")
    check(state["posture"] == "affirming", f"dev3 is {state['posture']}: {state['reason']}")
    lab.say(f"verdict: {state['posture']}: {state['reason']}")
    lines = lab.run("dev3", PROBE, f"tcp:{INTERNET}:80", f"tcp:{INTERNET}:22").stdout.split("\n")
    check(lines[0].endswith(" open"), "dev3 does not reach what its class allows")
    check(not lines[1].endswith(" open"), "dev3 reaches more than its class allows")
    lab.show("gw", ["nft", "list", "ruleset"])
    shown = [line for line in ruleset(lab).splitlines() if "10.10.0.13" in line]
    check(any(INTERNET in line for line in ruleset(lab).splitlines()),
          "nft does not list dev3's allowance")
    lab.show_lines("\n".join(shown))


def report_checked(lab):
    """The upstream checks the gateway's signed report with a tool that is not ours"""
    topic, _, report = lab.wait_arrived(
        lambda t, p: t.startswith(f"{UPSTREAM}/gateway/") and p[:1] == b"\xd2", "the report")
    path = os.path.join(lab.dir, "report.cose")
    with open(path, "wb") as f:
        f.write(report)
    lab.say(f"{topic}: {len(report)} bytes, COSE_Sign1")
    said = lab.run("up", os.path.join(TOOLS, "verify-report"), "--ca", "operator.pem",
                   "--ak", "gw1-ak.pub", "--expect", "dev3=affirming", path)
    lab.show_lines(said.stdout)


def reports(lab):
    """The composite reports that arrived, by the nonce that each says it answers."""
    found = {}
    for topic, _, payload in lab.arrived():
        if topic == f"{UPSTREAM}/gateway/rats/report":
            lead = cbor2.loads(cbor2.loads(cbor2.loads(payload).value[2])["__lead"][1])
            found[lead.value[10]] = payload
    return found


def asked(lab):
    """The upstream asks for reports with two nonces of its own: each gets one that is made for it"""
    nonces = [os.urandom(32), b"plain" + os.urandom(15)]
    for data in (cbor2.dumps({"nonce": nonces[0]}), nonces[1]):  # both forms that it may have
        path = os.path.join(lab.dir, "nonce")
        with open(path, "wb") as f:
            f.write(data)
        lab.run("up", "mosquitto_pub", "-V", "mqttv5", "-h", "203.0.113.10", "-p", "8883",
                "--cafile", "operator.pem", "--cert", "observer.pem", "--key", "observer.key",
                "-q", "1", "-t", f"{UPSTREAM}/gateway/rats/nonce", "-f", path)
    for value in nonces:
        check(wait_until(lambda v=value: v in reports(lab), 60),
              f"no report for the nonce {value.hex()} arrives")
        path = os.path.join(lab.dir, "asked.cose")
        with open(path, "wb") as f:
            f.write(reports(lab)[value])
        said = lab.run("up", os.path.join(TOOLS, "verify-report"), "--ca", "operator.pem",
                       "--ak", "gw1-ak.pub", "--nonce", value.hex(), "--expect", "dev3=affirming",
                       path)
        lab.show_lines("\n".join(line for line in said.stdout.splitlines() if "nonce" in line))
        for word in ("report carries the nonce that was asked for", "quote carries the nonce"):
            check(f"ok      {word}" in said.stdout, f"the tool does not say: {word}")


def cut(lab):
    """dev3 posts a token with a wrong component: its open connection is cut within 100 ms"""
    with open(os.path.join(lab.pki, "application.bin"), "rb") as f:
        image = bytearray(f.read())
    image[1000] ^= 1
    with open(os.path.join(lab.pki, "tampered.bin"), "wb") as f:
        f.write(image)
    lab.say("tampered.bin is application.bin with one bit changed")
    with open(os.path.join(lab.dir, "stream.log"), "w+") as log:
        receiver = lab.start("inet", STREAM, "receive", "80", stdout=log)
        check(wait_until(lambda: os.path.getsize(log.name), 5), "the receiver does not start")
        sender = lab.start("dev3", STREAM, "send", INTERNET, "80")
        check(wait_until(lambda: len(arrivals(log)) > 300, 5), "the connection does not open")
        sent = attest(lab, "dev3", "tampered.bin")
        answered = time.monotonic_ns()
        time.sleep(1.5)
        check(sender.poll() is None, "the sender gave up: nothing was measured")
        seen = arrivals(log)
        lab.stop(sender)
        lab.stop(receiver)
    state = device(lab, "dev3")
    # AR4SI: a component that no reference knows is a warning; this class opens nothing for it.
    check(state["posture"] == "warning", f"dev3 is {state['posture']}")
    lab.say(f"verdict: {state['posture']}: {state['reason']}")
    verdict = lab.wait_journal("of the verdict", DEVICE="dev3", POSTURE=state["posture"])
    verdict = int(verdict["__MONOTONIC_TIMESTAMP"]) * 1000
    tell_cut(lab, sent, verdict, answered, seen)


def arrivals(log):
    """When each line arrived, in nanoseconds."""
    with open(log.name) as f:
        lines = [line.split() for line in f if line.endswith("\n")]
    return [int(words[1]) for words in lines if len(words) == 2]


def tell_cut(lab, sent, verdict, answered, seen):
    last = seen[-1]
    lab.say(f"{len(seen)} lines had passed, one a millisecond, and the sender still tries")
    lab.say(f"verdict in the journal {(verdict - sent) / 1e6:.1f} ms, response at the device "
            f"{(answered - sent) / 1e6:.1f} ms after it began to post (handshake included)")
    lab.say(f"last packet {abs(last - verdict) / 1e6:.1f} ms "
            f"{'after' if last > verdict else 'before'} the verdict, {abs(last - answered) / 1e6:.1f} "
            f"ms {'after' if last > answered else 'before'} the response")
    check(last >= sent - 50e6, "it stopped before the token was sent: nothing was measured")
    check(last - verdict <= CUT_MS * 1e6, f"it went on for more than {CUT_MS} ms")


def why(lab):
    """sallyportctl why dev3 explains it"""
    said = lab.run("gw", "sallyportctl", "why", "dev3").stdout
    lab.show_lines(said, 30)
    for word in ("dev3 is warning", '"application"', "matches no reference", "gateway's own ports"):
        check(word in said, f'it does not say: {word}')
    lab.run("gw", "sallyportctl", "quarantine", "dev3", "inspection")
    try:
        lab.run("dev3", "ping", "-c1", "-W1", "198.51.100.7", ok=False, quiet=True)
        said = lab.run("gw", "sallyportctl", "why", "dev3").stdout
        lab.show_lines(said, 30)
        for word in ("by the operator: inspection", "closed: the gateway's own ports alone",
                     "it is closed"):
            check(word in said, f'it does not say: {word}')
    finally:
        lab.run("gw", "sallyportctl", "release", "dev3")


class Publisher:
    """mosquitto_pub that publishes numbered lines, and which of them were acknowledged."""

    SENT = re.compile(r"sending PUBLISH \(d0, q1, r0, m(\d+),")
    ACKED = re.compile(r"received PUBACK \(Mid: (\d+), RC:0\)")

    def __init__(self, lab, prefix):
        self.prefix, self.log = prefix, os.path.join(lab.dir, f"{prefix}.log")
        self.end = threading.Event()
        with open(self.log, "w") as out:
            self.process = lab.start("dev1", "stdbuf", "-oL", *mqtt(
                "mosquitto_pub", "dev1", "-q", "1", "-t", "count", "-l", "-d"),
                stdin=-1, stdout=out)
        self.thread = threading.Thread(target=self.feed, daemon=True)
        self.thread.start()

    def feed(self):
        number = 0
        try:
            while not self.end.wait(0.002):
                self.process.stdin.write(f"{self.prefix} {number}\n")
                self.process.stdin.flush()
                number += 1
        except (BrokenPipeError, ValueError):
            pass

    def acknowledged(self):
        numbers, acked = {}, set()
        with open(self.log) as f:
            for line in f:
                if m := self.SENT.search(line):
                    numbers[m[1]] = len(numbers)
                elif (m := self.ACKED.search(line)) and m[1] in numbers:
                    acked.add(f"{self.prefix} {numbers[m[1]]}".encode())
        return acked

    def finish(self, lab):
        self.end.set()
        self.thread.join()
        lab.stop(self.process)
        return self.acknowledged()


def crash(lab):
    """kill -9 while dev1 publishes and the upstream is away: nothing acknowledged is lost"""
    lab.service("stop", "broker")
    first = Publisher(lab, f"first-{os.getpid()}")
    check(wait_until(lambda: len(first.acknowledged()) >= 300, 20), "dev1 gets no PUBACK")
    lab.service("kill", "daemon")
    acked = first.finish(lab)
    lab.say(f"{len(acked)} messages were acknowledged before the daemon died")
    lab.service("start", "daemon")
    second = Publisher(lab, f"second-{os.getpid()}")
    check(wait_until(lambda: len(second.acknowledged()) >= 100, 20), "no PUBACK after the restart")
    acked |= second.finish(lab)
    lab.service("start", "broker")

    topic = f"{UPSTREAM}/dev1/count"
    wait_until(lambda: acked <= {p for t, _, p in lab.arrived() if t == topic}, 30)
    arrived = collections.Counter(p for t, _, p in lab.arrived() if t == topic)
    missing = acked - set(arrived)
    lab.say(f"acknowledged {len(acked)}, arrived {len(arrived)}, more than once "
            f"{sum(n > 1 for n in arrived.values())}, missing {len(missing)}")
    check(not missing, f"acknowledged and lost: {sorted(missing)[:5]}")


def foreign(lab):
    """A certificate of a foreign CA that says it is dev1 is refused, and the journal says why"""
    since = len(lab.journal(TRANSPORT="mqtt", REASON="unknown-ca"))
    p = lab.run("dev1", *mqtt("mosquitto_pub", "liar", "-q", "1", "-t", "temperature", "-m", "99"),
                ok=False)
    check(p.returncode != 0, "it was let in")
    entries = wait_until(
        lambda: lab.journal(TRANSPORT="mqtt", REASON="unknown-ca")[since:], 5)
    check(entries, "the journal has no REASON=unknown-ca")
    lab.say(f"journal: {entries[-1]['MESSAGE']}")
    p = lab.run("dev1", *coap("liar", "post", "/t/temperature", "-B", "3", "-e", "99"), ok=False)
    entries = wait_until(lambda: lab.journal(TRANSPORT="coap", REASON="unknown-ca"), 5)
    check(entries, "the journal has no REASON=unknown-ca for CoAP")
    lab.say(f"journal: {entries[-1]['MESSAGE']}")
    check(not [m for m in lab.arrived() if m[2] == b"99"], "its message arrived upstream")


def reloaded(lab):
    """A changed configuration is taken as a whole or not at all, while sessions are open"""
    subscriber = lab.start("dev1", *mqtt("mosquitto_sub", "dev1", "-q", "1", "-t", "cmd/#", "-d"))
    check(wait_until(lambda: device(lab, "dev1")["sessions"] == 1, 10), "dev1 does not connect")
    reload.refused_as_a_whole(lab, device)
    reload.removed_device(lab, subscriber, ruleset)
    reload.reload(lab)
    reload.quarantine_survives(lab, device, coap("dev2", "post", "/t/level", "-e", "7",
                                                 gateway="10.20.0.1"), ruleset)
    mqtt_telemetry(lab)


def measured(lab):
    """The gateway's machine runs something else (a PCR changed): the daemon refuses to start"""
    lab.service("stop", "daemon")
    lab.run("gw", "tpm2_pcrextend", "-T", "swtpm:path=/run/tpm/sock", "7:sha256=" + "5a" * 32)
    daemon = ["setpriv", "--reuid=sallyport", "--regid=sallyport", "--init-groups",
              "--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "sallyportd"]
    p = lab.run("gw", *daemon, ok=False)
    said = (p.stderr + p.stdout).strip()
    lab.show_lines("\n".join(said.splitlines()[-3:]))
    check(p.returncode == 2, f"it ended with {p.returncode}, not 2: only a person can mend this")
    check("PCR" in said, "it does not say that a PCR changed")
    # A reboot into the old state, and all is well again.
    lab.service("stop", "swtpm")
    lab.run("gw", "rm", "-f", "/run/tpm/sock", quiet=True)
    p = lab.run("gw", *daemon, ok=False, quiet=True)
    check(p.returncode == 1, f"without a TPM it ended with {p.returncode}, not 1: it may come yet")
    check("TPM is not there" in p.stderr + p.stdout, "it does not say that there is no TPM")
    lab.service("start", "swtpm")
    lab.service("start", "daemon")
    lab.say("after a reboot into the measured state the daemon starts")
