# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of the settings suite about the identity's certificate: it is renewed by an EST server, put
in by hand, refused, out of date; and by which authorities the upstream is known."""

import contextlib
import datetime
import json
import os
import re
import shutil
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from hostile_coap import dtls
from lab import TOOLS, check, wait_until
from peers import (PLANT, POST, begin, codes, connect, end, gateway_tls, message, publish, raw,
                   told)
from reload import changed, configured, connections, reload
from steps import UPSTREAM, mqtt

EST = "[Enrollment]\nServer=https://203.0.113.10:8443\nCA=/etc/sallyport/operator.pem\n"


# --- certificates -----------------------------------------------------------------------------

def in_force(lab):
    return os.path.join(lab.dir, "gw/var-lib/sallyport/identity/identity.crt")


def certify(lab, lifetime, start=-2):
    """The PEM of a certificate for the gateway's key, for so many seconds from `start` on."""
    def load(path):
        with open(os.path.join(lab.dir, path), "rb") as f:
            return f.read()
    csr = x509.load_pem_x509_csr(load("gw1.csr"))
    model = x509.load_pem_x509_certificate(load("gw1.pem"))
    key = serialization.load_pem_private_key(load("pki/operator.key"), None)
    begins = datetime.datetime.utcnow() + datetime.timedelta(seconds=start)
    builder = (x509.CertificateBuilder().subject_name(csr.subject).issuer_name(model.issuer)
               .public_key(csr.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(begins)
               .not_valid_after(begins + datetime.timedelta(seconds=lifetime)))
    for e in model.extensions:
        builder = builder.add_extension(e.value, e.critical)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def put(lab, pem):
    """As `sallyportctl identity install` writes it while the daemon runs: the software TPM serves
    one at a time, and the daemon has it."""
    path = in_force(lab)
    owner = os.stat(path)
    with open(path + ".new", "wb") as f:
        f.write(pem)
    os.chown(path + ".new", owner.st_uid, owner.st_gid)
    os.rename(path + ".new", path)


@contextlib.contextmanager
def own_certificate(lab):
    """The lab's certificate is in force again afterwards."""
    kept = os.path.join(lab.dir, "identity.crt.kept")
    shutil.copyfile(in_force(lab), kept)
    try:
        yield
    finally:
        lab.service("stop", "daemon")
        with open(kept, "rb") as f:
            put(lab, f.read())
        with contextlib.suppress(FileNotFoundError):
            os.unlink(in_force(lab).replace("identity.crt", "candidate.crt"))
        lab.service("start", "daemon")


# --- what is seen -----------------------------------------------------------------------------

def status(lab):
    return json.loads(lab.run("gw", "sallyportctl", "status", "--json", quiet=True).stdout)


def certificate(lab):
    return status(lab)["identity"]["certificate"]


def wait_certificate(lab, condition, what, timeout=20):
    if not wait_until(lambda: condition(certificate(lab)), timeout):
        check(False, f"{what}: {certificate(lab)}")
    return certificate(lab)


def upstream_sessions(lab):
    """How often the broker has let the gateway in."""
    with open(os.path.join(lab.dir, "log/broker.log")) as f:
        return len(re.findall(r"New client connected from \S+ as gw1 ", f.read()))


def upstream_up(lab):
    return wait_until(lambda: status(lab)["upstream"]["connected"], 20)


def behave(lab, **how):
    path = os.path.join(lab.pki, "est.json")
    with open(path + ".new", "w") as f:
        json.dump(how, f)
    os.rename(path + ".new", path)


def est_server(lab, **how):
    behave(lab, **how)
    return lab.listen("up", os.path.join(TOOLS, "est-server"), "--listen", "203.0.113.10",
                      "--port", "8443", "--certificate", "broker.pem", "--key", "broker.key",
                      "--ca", "operator", "--behaviour", "est.json", "--log", "est.log")


class Stream:
    """dev1 publishes numbers with QoS 1, without a pause, over one connection."""

    SCRIPT = """i=0; while [ ! -e "$1" ]; do echo "$2-$i"; i=$((i + 1)); sleep 0.02; done | {
        shift 2; "$@"; }; echo "ended $?" """

    def __init__(self, lab, mark):
        self.lab, self.mark = lab, f"{mark}-{time.time_ns()}"
        self.stop_file = os.path.join(lab.dir, "stop-stream")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.stop_file)
        self.process = lab.start("dev1", "bash", "-c", self.SCRIPT, "-", self.stop_file, self.mark,
                                 *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "stream", "-l"),
                                 quiet=True)
        check(wait_until(self.numbers, 10), "dev1's numbers do not arrive")
        self.peers = connections(lab, "10.10.0.11")

    def numbers(self):
        return [int(p.decode().rsplit("-")[-1]) for t, _, p in self.lab.arrived()
                if t == f"{UPSTREAM}/dev1/stream" and p.startswith(self.mark.encode() + b"-")]

    def end(self):
        """All of them arrived, over the one connection."""
        before = self.lab.run("gw", "sallyportctl", "devices", "--json", quiet=True).stdout
        now = connections(self.lab, "10.10.0.11")
        check('"dev1"' in before and now == self.peers,
              f"dev1 has another connection than before: {now}, not {self.peers}")
        with open(self.stop_file, "w"):
            pass
        out, _ = self.process.communicate(timeout=20)
        check("ended 0" in out, f"dev1's client: {out}")
        self.lab.background.remove(self.process)
        check(wait_until(lambda: status(self.lab)["store"]["records"] == 0, 20),
              "messages stay in the store")
        seen = self.numbers()
        lost = set(range(max(seen) + 1)) - set(seen)
        check(not lost, f"lost: {sorted(lost)[:10]}")
        self.lab.say(f"dev1 sent {max(seen) + 1} messages meanwhile, all of them arrived"
                     f" ({len(seen) - len(set(seen))} twice)")


# --- steps ------------------------------------------------------------------------------------

def renewed(lab):
    """[Enrollment]: the certificate renews itself while dev1 publishes without a pause"""
    with own_certificate(lab):
        est_server(lab)
        stream = Stream(lab, "renewed")
        sessions = upstream_sessions(lab)
        with configured(lab, EST + "RenewAt=20\n"):
            put(lab, certify(lab, 40))
            reload(lab)
            short = wait_certificate(lab, lambda c: c["days_left"] == 0, "the short one")
            check(short["validity"] == "ok" and upstream_sessions(lab) == sessions + 1,
                  f"it was not tried upstream: {short}")
            lab.say(f"a certificate until {short['not_after']} was installed by hand and tried")
            new = wait_certificate(lab, lambda c: c["not_after"] > short["not_after"],
                                   "nothing is renewed", 30)
            lab.say(f"renewed: until {new['not_after']}")
            check(new["renewal"] == "idle" and not new["candidate"] and not new["problem"], new)
            check(upstream_sessions(lab) == sessions + 2, "it was not tried upstream")
            time.sleep(1.1)  # the dates are whole seconds
            lab.run("gw", "sallyportctl", "renew")
            again = wait_certificate(lab, lambda c: c["not_after"] > new["not_after"],
                                     "not renewed when told to", 30)
            lab.say(f"renewed when told to: until {again['not_after']}")
            check(upstream_sessions(lab) == sessions + 3, "it was not tried upstream")
            behave(lab, lifetime=40000)
            time.sleep(1.1)
            lab.run("gw", "sallyportctl", "renew")
            wait_certificate(lab, lambda c: c["not_after"] < again["not_after"],
                             "the CA's shorter lifetime is not taken", 30)
            check(upstream_sessions(lab) == sessions + 4, "it was not tried upstream")
            leaf = raw(lab, "dev3", gateway_tls({"cert": "dev3", "wait": 1,
                                                 "send": [connect("dev3").hex()]}))[0]
            check(told(leaf["heard"]) == ["CONNACK 0x00"], f"dev3 with the new leaf: {leaf}")
        with open(os.path.join(lab.pki, "est.log")) as f:
            log = f.read()
        check("POST /.well-known/est/simplereenroll CN=gw1" in log, f"the EST server saw: {log}")
        lab.wait_journal("the renewal", MESSAGE="The identity has a new certificate, valid until "
                         f"{new['not_after']}")
        stream.end()
        p = lab.run("gw", "sallyportctl", "renew", ok=False)
        check(p.returncode == 1 and "no EST server" in p.stderr, f"without one: {p}")


def rolled_back(lab):
    """A new certificate that the broker refuses is set aside, nobody loses a connection"""
    with own_certificate(lab):
        est_server(lab, ca="foreign")
        stream = Stream(lab, "rolled-back")
        with configured(lab, EST + "RenewAt=10\n"):
            put(lab, certify(lab, 300))
            reload(lab)
            wait_certificate(lab, lambda c: c["days_left"] == 0, "the one in force")
            sessions = upstream_sessions(lab)
            before = status(lab)["upstream"]
            # Its share of the lifetime is over at once.
            put(lab, certify(lab, 600, -300))
            reload(lab)
            c = wait_certificate(lab, lambda c: c["renewal"] == "refused", "not refused", 60)
            lab.say(c["problem"])
            check("refused" in c["problem"] and "next try in" in c["problem"], c["problem"])
            check(upstream_sessions(lab) == sessions + 1, "the broker let the foreign one in")
            after = status(lab)["upstream"]
            check(after["connected"] and after["state_seconds"] >= 0, f"{before} {after}")
            aside = in_force(lab).replace("identity.crt", "refused.crt")
            with open(aside) as f:
                said = f.readline()
            check(said.startswith("# Not taken at"), said)
            lab.say(f"refused.crt: {said.strip()}")
            check(not os.path.exists(in_force(lab).replace("identity.crt", "candidate.crt")),
                  "the candidate is still there")
            check(any("is not taken" in e["MESSAGE"] for e in lab.journal(PRIORITY="4")),
                  "the journal does not tell")
            behave(lab)
            reload(lab)
            wait_certificate(lab, lambda c: c["renewal"] == "idle", "the next is not taken", 30)
        stream.end()


def waits(lab):
    """While upstream cannot be reached a new certificate waits, over a crash as well"""
    with own_certificate(lab):
        lab.service("stop", "broker")
        try:
            put(lab, certify(lab, 3000))
            reload(lab)
            c = wait_certificate(lab, lambda c: "waits" in c["problem"], "it does not wait")
            lab.say(c["problem"])
            check(c["candidate"] and c["days_left"] > 1000, f"it is in force: {c}")
            lab.service("kill", "daemon")
            lab.service("start", "daemon")
            c = certificate(lab)
            check(c["candidate"] and c["days_left"] > 1000, f"after a crash: {c}")
        finally:
            lab.service("start", "broker")
            lab.service("start", "tap")
        wait_certificate(lab, lambda c: c["days_left"] == 0 and not c["candidate"],
                         "the broker is back", 30)
        lab.say("the broker is back: tried and in force")


DATELESS = {"dates": False, "wait": 1}


def out_of_date(lab):
    """A certificate that is over, or not valid yet: devices are served, the state says so"""
    with own_certificate(lab):
        session = begin(lab, "dev3", gateway_tls({"cert": "dev3", "pause": 12, "wait": 1, "send": [
            connect("dev3").hex(), publish("over", b"x").hex()]}))
        est_server(lab)
        with configured(lab, EST.replace("8443", "8444")):
            put(lab, certify(lab, 8))
            reload(lab)
            wait_certificate(lab, lambda c: c["days_left"] == 0, "the short one")
            c = wait_certificate(lab, lambda c: c["validity"] == "expired", "it does not expire")
            lab.say(c["problem"])
            check(c["problem"].startswith("certificate expired") and c["days_left"] < 0, c)
            lab.wait_journal("of it", REASON="expired")
            check(told(end(session)["heard"]) == ["CONNACK 0x00", "PUBACK 0x00"],
                  "dev3's session ended")
            lab.service("stop", "daemon")
            lab.service("start", "daemon")
            a = raw(lab, "dev1", gateway_tls({**DATELESS, "send": [
                connect().hex(), publish("over", b"later").hex()]}))[0]
            check(told(a["heard"]) == ["CONNACK 0x00", "PUBACK 0x00"], f"after a restart: {a}")
            a = raw(lab, "dev1", gateway_tls({"wait": 1, "send": [connect().hex()]}))[0]
            check(told(a["heard"]) != ["CONNACK 0x00"], "the certificate has not expired at all")
            lab.say("served, before and after a restart")
            wait_certificate(lab, lambda c: "renewal failing" in c["problem"], "no word of renewal")
            check(not status(lab)["upstream"]["connected"], "the broker lets it in")
            put(lab, certify(lab, 3000, 1500))
            lab.service("stop", "daemon")
            lab.service("start", "daemon")
            c = wait_certificate(lab, lambda c: c["validity"] == "not-yet-valid", "is it valid?")
            check("is the clock right?" in c["problem"], c)
            lab.say(c["problem"])
            a = raw(lab, "dev1", gateway_tls({**DATELESS, "send": [
                connect().hex(), publish("over", b"early").hex()]}))[0]
            check(told(a["heard"]) == ["CONNACK 0x00", "PUBACK 0x00"], f"not valid yet: {a}")
            put(lab, certify(lab, 3000))
            reload(lab)
            c = wait_certificate(lab, lambda c: c["validity"] == "ok", "not put in force", 30)
            check(upstream_up(lab), "the broker does not let it in")
            for payload in (b"x", b"later", b"early"):
                lab.wait_arrived(lambda t, p, w=payload: t.endswith("/over") and p == w,
                                 f"message {payload}", 20)


@contextlib.contextmanager
def wrong_clock():
    """The daemon's clock stands at 1970 when it is started."""
    kept = os.environ.get("ASAN_OPTIONS")
    os.environ["LAB_PRELOAD"] = "/run/bin/wrong-clock.so"
    os.environ["ASAN_OPTIONS"] = ":".join(filter(None, [kept, "verify_asan_link_order=0"]))
    try:
        yield
    finally:
        del os.environ["LAB_PRELOAD"]
        if kept is None:
            del os.environ["ASAN_OPTIONS"]
        else:
            os.environ["ASAN_OPTIONS"] = kept


def without_time(lab):
    """A clock that stands at 1970 after the boot: it starts, serves, and says so"""
    lab.service("stop", "daemon")
    try:
        with wrong_clock():
            lab.service("start", "daemon")
        c = certificate(lab)
        lab.say(c["problem"])
        check(c["validity"] == "not-yet-valid" and "is the clock right?" in c["problem"], c)
        sent = [connect().hex(), publish("early", b"1970").hex()]
        a = raw(lab, "dev1", gateway_tls({**DATELESS, "send": sent}))[0]
        check(told(a["heard"]) == ["CONNACK 0x00", "PUBACK 0x00"], f"MQTT: {a}")
        lab.wait_arrived(lambda t, p: t.endswith("/early") and p == b"1970", "dev1's message", 20)
        case = dtls([message(POST, ["t", "early"], b"1")], cert="dev2", wait=2)
        a = raw(lab, "dev2", {**case, "to": f"{PLANT}:5684"})[0]
        check(codes(a["heard"]).get(1) == "2.04", f"CoAP: {a}")
        # Only what began after the gateway's own certificate is from a future that it cannot know.
        renew_device(lab)
        a = raw(lab, "dev3", gateway_tls({**DATELESS, "cert": "later", "key": "dev3",
                                          "send": [connect("dev3").hex()]}))[0]
        check("CERTIFICATE" in a["end"], f"a certificate of tomorrow: {a}")
        lab.say("devices are served; what begins tomorrow is refused")
    finally:
        lab.service("stop", "daemon")
        lab.service("start", "daemon")
    wait_certificate(lab, lambda c: c["validity"] == "ok", "with the right clock")


def renew_device(lab):
    """A certificate for dev3 that begins tomorrow."""
    def load(name):
        with open(os.path.join(lab.pki, name), "rb") as f:
            return f.read()
    model = x509.load_pem_x509_certificate(load("dev3.pem"))
    key = serialization.load_pem_private_key(load("devices.key"), None)
    begins = datetime.datetime.utcnow() + datetime.timedelta(days=1)
    builder = (x509.CertificateBuilder().subject_name(model.subject).issuer_name(model.issuer)
               .public_key(model.public_key()).serial_number(x509.random_serial_number())
               .not_valid_before(begins).not_valid_after(begins + datetime.timedelta(days=30)))
    for e in model.extensions:
        builder = builder.add_extension(e.value, e.critical)
    with open(os.path.join(lab.pki, "later.pem"), "wb") as f:
        f.write(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))


def authorities(lab):
    """[Upstream]: another CA file, or other content of it, by reload; the connection lasts"""
    stream = Stream(lab, "authorities")
    sessions = upstream_sessions(lab)
    with open(os.path.join(lab.pki, "foreign.pem")) as f:
        foreign = f.read()
    with changed(lab, "operator.pem", lambda text: foreign + text):
        reload(lab)
        check(wait_until(lambda: upstream_sessions(lab) == sessions + 1, 10), "not tried")
        check(status(lab)["upstream"]["error"] == "", "an error")
        reload(lab)
        check(upstream_sessions(lab) == sessions + 1, "a reload without a change connects anew")
        with configured(lab, "[Upstream]\nServerName=203.0.113.10\nKeepAlive=17s\n"):
            check(wait_until(lambda: upstream_sessions(lab) == sessions + 2, 10), "not tried")
        check(wait_until(lambda: upstream_sessions(lab) == sessions + 3, 10), "not back")
    with changed(lab, "operator.pem", lambda text: "nothing"):
        reload(lab, "[Upstream] CA=")
    with changed(lab, "operator.pem", lambda text: foreign):
        reload(lab)
        check(wait_until(lambda: not status(lab)["upstream"]["connected"], 10),
              "a broker that is not trusted any more is still connected")
        lab.say(status(lab)["upstream"]["error"])
    reload(lab)
    check(upstream_up(lab), "it does not come back")
    stream.end()


STEPS = [renewed, rolled_back, waits, out_of_date, without_time, authorities]
