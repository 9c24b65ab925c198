# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of the settings suite about trust in devices: sessions that resume, revocation lists, and
authorities that come and go while devices are in."""

import contextlib
import datetime
import json
import os
import shutil
import subprocess
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from hostile_coap import Firmware, dtls
from lab import check, wait_until
from peers import PLANT, POST, Reasons, begin, end, message
from reload import changed, connections, reload
from steps import CUT_MS, GATEWAY, INTERNET, STREAM, arrivals, device, mqtt

ADDRESSES = {"dev1": "10.10.0.11", "dev2": "10.20.0.12"}
GATEWAYS = {"dev1": GATEWAY, "dev2": PLANT, "dev3": GATEWAY}


def read(lab, name):
    with open(os.path.join(lab.pki, name), "rb") as f:
        return f.read()


def revocation_list(lab, *names, authority="devices"):
    """A list of an authority, with the certificates of these devices on it, in PEM."""
    key = serialization.load_pem_private_key(read(lab, f"{authority}.key"), None)
    now = datetime.datetime.utcnow()
    issuer = x509.load_pem_x509_certificate(read(lab, f"{authority}.pem")).subject
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer).last_update(
        now - datetime.timedelta(hours=1)).next_update(now + datetime.timedelta(days=1))
    for name in names:
        serial = x509.load_pem_x509_certificate(read(lab, f"{name}.pem")).serial_number
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now).build())
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


MANY = 200000


def long_list(lab, path):
    """A list of the devices' authority with MANY serials on it, none of them a device's."""
    work = os.path.join(lab.dir, "long-list")
    os.makedirs(work, exist_ok=True)
    with open(f"{work}/index.txt", "w") as f:
        f.writelines(f"R\t351231235959Z\t250101000000Z\t{i:08X}\tunknown\t/CN={i}\n"
                     for i in range(0x7e000000, 0x7e000000 + MANY))
    with open(f"{work}/ca.conf", "w") as f:
        f.write(f"[ca]\ndefault_ca=c\n[c]\ndatabase={work}/index.txt\ndefault_md=sha256\n"
                "default_crl_days=1\n")
    subprocess.run(["openssl", "ca", "-gencrl", "-config", f"{work}/ca.conf", "-cert",
                    os.path.join(lab.pki, "devices.pem"), "-keyfile",
                    os.path.join(lab.pki, "devices.key"), "-out", path],
                   check=True, capture_output=True, timeout=120)
    shutil.rmtree(work)


@contextlib.contextmanager
def revoking(lab, *names):
    """A configuration that names a list with these devices on it. Hands out what puts others there.
    Nothing is reloaded."""
    path = os.path.join(lab.dir, "gw/etc/sallyport/devices.crl")

    def put(*others, **more):
        with open(path, "w") as f:
            f.write(revocation_list(lab, *others, **more))
        os.chmod(path, 0o644)
    put(*names)
    try:
        with changed(lab, "sallyport.conf.d/trust.conf",
                     lambda _: "[Devices]\nCRL=/etc/sallyport/devices.crl\n"):
            yield put
    finally:
        os.unlink(path)


def status(lab):
    return json.loads(lab.run("gw", "sallyportctl", "status", "--json", quiet=True).stdout)


def stay(lab, name, *more):
    """A device that stays connected over MQTT."""
    p = lab.start(name, *mqtt("mosquitto_sub", name, "-t", "cmd/#", *more, gateway=GATEWAYS[name]))
    check(wait_until(lambda: connections(lab, ADDRESSES[name]), 10), f"{name} does not connect")
    check(wait_until(lambda: device(lab, name)["sessions"] > 0, 10), f"{name} has no session")
    return p


def kept(lab, before):
    """Those that have the very connections that they had."""
    return {name for name, old in before.items() if connections(lab, ADDRESSES[name]) == old}


VISITS = """
visit() { sleep 1.5 | timeout 10 openssl s_client $1 -connect "$2" -CAfile operator.pem \
    -cert "$3.pem" -key "$3.key" "${@:4}" 2>&1; }
s=$(mktemp); trap 'rm -f "$s"' EXIT
visit "$1" "$2" "$3" -sess_out "$s" | grep -E '^(New|Reused), TLS'
visit "$1" "$2" "$3" -sess_in "$s" -sess_out "$s" | grep -E '^(New|Reused), TLS'
"""


def visits(lab, name, option, to):
    said = lab.run(name, "bash", "-c", VISITS, "-", option, to, name, quiet=True, ok=False).stdout
    lab.say(f"{name} comes twice to {to}: {', '.join(line.split(',')[0] for line in said.splitlines())}")
    return [line.split(",")[0] for line in said.splitlines()]


def resumption(lab):
    """Devices resume their sessions at both doors, and status counts them"""
    before = status(lab)["handshakes"]
    check(visits(lab, "dev1", "-tls1_3", f"{GATEWAY}:8883") == ["New", "Reused"], "not over MQTT")
    check(visits(lab, "dev2", "-dtls1_2", f"{PLANT}:5684") == ["New", "Reused"], "not over CoAP")
    after = status(lab)["handshakes"]
    for door in ("mqtt", "coap"):
        gained = {k: after[door][k] - before[door][k] for k in ("full", "resumed")}
        check(gained == {"full": 1, "resumed": 1}, f"{door}: status counts {gained}")


def bad_lists(lab):
    """CRL=: what is no list of a CA of devices refuses the reload and the check, with file and reason"""
    with revoking(lab) as put:
        check_daemon = ["sallyportd", "--check"]
        reload(lab)
        for text, words in ((None, "its issuer is not among the authorities"),
                            (lambda t: t[:-60], "a list in it is damaged")):
            if text is None:
                put(authority="foreign")
            else:
                put()
                path = os.path.join(lab.dir, "gw/etc/sallyport/devices.crl")
                with open(path) as f:
                    broken = text(f.read())
                with open(path, "w") as f:
                    f.write(broken)
            reload(lab, f"/etc/sallyport/devices.crl: not a usable revocation list: {words}")
            p = lab.run("gw", *check_daemon, ok=False, quiet=True)
            check(p.returncode == 2 and words in p.stderr, f"--check says {p.stderr}")
    reload(lab)


def long_one(lab):
    """CRL=: a list with 200000 entries is read on the side, and devices are served meanwhile"""
    with revoking(lab):
        lab.service("stop", "daemon")
        lab.service("start", "daemon")
        long_list(lab, os.path.join(lab.dir, "gw/etc/sallyport/devices.crl"))
        began = time.monotonic()
        reload(lab)
        took = time.monotonic() - began
        loop = status(lab)["loop"]
        check(status(lab)["trust"]["revoked"] == MANY, "the list is not in force")
        lab.say(f"in force after {took * 1000:.0f} ms, the longest turn took "
                f"{loop['max_usec'] / 1000:.0f} ms")
        check(loop["max_usec"] < took * 1e6 / 3, f"the loop waited: {loop}")
    reload(lab)


@contextlib.contextmanager
def stream(lab):
    """dev3 sends a line a millisecond through what its posture opens. Hands out the log."""
    with open(os.path.join(lab.dir, "stream.log"), "w+") as log:
        receiver = lab.start("inet", STREAM, "receive", "80", stdout=log)
        check(wait_until(lambda: os.path.getsize(log.name), 5), "the receiver does not start")
        sender = lab.start("dev3", STREAM, "send", INTERNET, "80")
        check(wait_until(lambda: len(arrivals(log)) > 300, 5), "the connection does not open")
        yield log, sender
        lab.stop(sender)
        lab.stop(receiver)


def gone(lab, name, words):
    """What `why` has to say of who is revoked, at once."""
    why = device(lab, name)
    check(why["sessions"] == 0, f"{name} has {why['sessions']} sessions")
    check(why["revoked"] and why["posture"] == "unattested" and
          why["effective_posture"] == "contraindicated" and why["closed"] and not why["telemetry"],
          f"{name}: {why}")
    check(words in why["reason"], f"{name} is so because {why['reason']}")
    lab.wait_journal(f"that {name} is revoked", DEVICE=name, REASON="certificate-revoked")


def tell_rest(lab, began, returned, seen):
    last = seen[-1]
    lab.say(f"reload took {(returned - began) / 1e6:.1f} ms; dev3's last packet "
            f"{abs(last - returned) / 1e6:.1f} ms {'after' if last > returned else 'before'} its end")
    check(last >= began - 50e6, "it stopped before the reload: nothing was measured")
    check(last - returned <= CUT_MS * 1e6, f"it went on for more than {CUT_MS} ms")


def revoke_dev3(lab, held):
    with stream(lab) as (log, sender):
        reload_began = time.monotonic_ns()
        reload(lab)
        returned = time.monotonic_ns()
        gone(lab, "dev3", "its certificate (serial ")
        time.sleep(1)
        check(sender.poll() is None, "the sender gave up: nothing was measured")
        tell_rest(lab, reload_began, returned, arrivals(log))
    check(end(held)["end"] != "open", "dev3's session over CoAP goes on")


def revocation(lab):
    """CRL=: who is on the list loses session, posture and way out at once, the others notice nothing"""
    firmware = Firmware(lab)
    will = f"will/{time.monotonic_ns()}"
    for name in ("dev1", "dev2"):
        stay(lab, name, "--will-topic", will, "--will-payload", "x", "--will-qos", "1")
    check(firmware.post(firmware.token(firmware.claims(firmware.nonce()))) == "2.04", "no verdict")
    check(device(lab, "dev3")["posture"] == "affirming", "dev3 is not affirmed")
    held = begin(lab, "dev3", {**dtls([message(POST, ["t", "x"], b"1")] * 2, cert="dev3", pause=4,
                                      wait=8), "to": f"{GATEWAY}:5684"})
    check(wait_until(lambda: device(lab, "dev3")["sessions"] > 0, 10), "dev3 has no session")
    before = {name: connections(lab, ADDRESSES[name]) for name in ADDRESSES}
    with revoking(lab, "dev3") as put:
        revoke_dev3(lab, held)
        check(kept(lab, before) == {"dev1", "dev2"}, "others lost their connections")
        seen = Reasons(lab, TRANSPORT="coap")
        firmware.post(b"x")
        seen.wait("revoked", PEER="10.10.0.13:")
        gone(lab, "dev3", "its certificate (serial ")
        lab.say("dev3 comes again and is refused: revoked")
        put("dev1", "dev3")
        reload(lab)
        gone(lab, "dev1", "its certificate (serial ")
        check(wait_until(lambda: not before["dev1"] & connections(lab, ADDRESSES["dev1"]), 5),
              "dev1's connection goes on")
        check(kept(lab, before) == {"dev2"}, "dev2 lost its connection")
        said = lab.run("gw", "sallyportctl", "devices").stdout
        lab.show_lines(said)
        check(said.count("revoked") == 2, "devices does not list them")
        said = lab.run("gw", "sallyportctl", "why", "dev1").stdout
        check("dev1 is revoked" in said and "was revoked" in said, f"why says {said}")
        s = status(lab)
        check(s["devices"]["revoked"] == 2 and s["trust"]["lists"] == 1 and not s["trust"]["overdue"],
              f"status: {s['trust']}")
        seen = Reasons(lab, TRANSPORT="mqtt")
        p = lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-t", "x", "-m", "1"), ok=False)
        check(p.returncode != 0, "dev1 publishes")
        seen.wait("revoked", PEER="10.10.0.11:")
        # A certificate of its own again, which is on no list.
        fresh(lab, "dev1")
        lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-t", "x", "-m", "1"))
        check(not device(lab, "dev1")["revoked"], "with another certificate dev1 stays closed")
        lab.say("with another certificate dev1 is let in")
        check(not any(t.endswith(will) for t, _, _ in lab.arrived()), "its will is published")
    reload(lab)
    check(kept(lab, before) == {"dev2"}, "dev2 lost its connection")
    lab.service("kill", "daemon")
    lab.service("start", "daemon")
    why = device(lab, "dev3")
    check(why["revoked"] and why["closed"], "after a restart dev3 is open before it showed anything")
    check(not device(lab, "dev1")["revoked"], "after a restart dev1 is closed again")
    code = firmware.post(firmware.token(firmware.claims(firmware.nonce())))
    why = device(lab, "dev3")
    check(code == "2.04" and why["posture"] == "affirming" and not why["closed"], f"{code} {why}")
    lab.close()


def fresh(lab, name):
    """Another certificate for a device, by the maker of devices."""
    tree = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lab/pki")
    subprocess.run([tree, lab.pki, "device", name], check=True, capture_output=True)
    os.chmod(os.path.join(lab.pki, f"{name}.pem"), 0o644)


def other_authority(lab):
    """A second maker of devices, who certifies dev2."""
    for line in ("ecparam -name prime256v1 -genkey -noout -out second.key",
                 "req -x509 -new -key second.key -subj /CN=second -days 99 -out second.pem -addext "
                 "basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign",
                 "ecparam -name prime256v1 -genkey -noout -out dev2.key",
                 "req -new -key dev2.key -subj /CN=dev2 -out dev2.csr",
                 "x509 -req -in dev2.csr -CA second.pem -CAkey second.key -days 99 -set_serial 77 "
                 "-out dev2.pem"):
        subprocess.run(["openssl", *line.split()], cwd=lab.pki, check=True, capture_output=True)


def authorities(lab):
    """[Devices] CA=: another one comes, the old one goes, and only who came in by it notices"""
    both = read(lab, "devices.pem").decode()
    old = {name: (read(lab, f"{name}.pem"), read(lab, f"{name}.key")) for name in ("dev2",)}
    try:
        stay(lab, "dev1")
        first = connections(lab, ADDRESSES["dev1"])
        other_authority(lab)
        second = read(lab, "second.pem").decode()
        with changed(lab, "devices.pem", lambda t: t + second):
            reload(lab)
            check(connections(lab, ADDRESSES["dev1"]) == first, "dev1 was disconnected")
            stay(lab, "dev2")
            lab.say("with both nobody is disconnected, and who has a certificate of the new one gets in")
        before = {name: connections(lab, ADDRESSES[name]) for name in ADDRESSES}
        with changed(lab, "devices.pem", lambda _: second):
            reload(lab)
            check(device(lab, "dev1")["sessions"] == 0, "dev1 has a session")
            check(wait_until(lambda: not before["dev1"] & connections(lab, ADDRESSES["dev1"]), 5),
                  "dev1's connection goes on")
            check(kept(lab, before) == {"dev2"}, "dev2 was disconnected")
            check(not device(lab, "dev1")["revoked"], "dev1 counts as revoked")
            seen = Reasons(lab, TRANSPORT="mqtt")
            lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-t", "x", "-m", "1"), ok=False)
            seen.wait("unknown-ca", PEER="10.10.0.11:")
            lab.say("without the old one dev1 is out, and dev2 has its connection")
    finally:
        lab.close()
        for name, (certificate, key) in old.items():
            for suffix, content in ((".pem", certificate), (".key", key)):
                with open(os.path.join(lab.pki, name + suffix), "wb") as f:
                    f.write(content)
        check(both == read(lab, "devices.pem").decode(), "the maker's certificate is another")
        reload(lab)


def minimum_tls(lab):
    """[MQTT] MinimumTLS=: a reload takes it over, connections stay"""
    def tls12():
        seen = visits(lab, "dev1", "-tls1_2", f"{GATEWAY}:8883")
        return bool(seen) and seen[0] == "New"
    stay(lab, "dev2")
    before = {"dev2": connections(lab, ADDRESSES["dev2"])}
    with changed(lab, "sallyport.conf.d/trust.conf", lambda _: "[MQTT]\nMinimumTLS=1.2\n"):
        reload(lab)
        check(tls12(), "TLS 1.2 is not taken")
    reload(lab)
    check(not tls12(), "TLS 1.2 is still taken")
    check(kept(lab, before) == {"dev2"}, "dev2 was disconnected")
    lab.close()


SERVER = """
import http.server, os, socketserver
class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass

    def do_GET(self):
        with open(self.path.lstrip("/"), "rb") as f:
            body = f.read()
        etag = f'"{hash(body)}"'
        if os.path.exists("deaf") or self.headers.get("If-None-Match") == etag:
            self.send_response(304)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(body)
socketserver.TCPServer.allow_reuse_address = True
socketserver.TCPServer(("203.0.113.10", 8080), Files).serve_forever()
"""


def fetched_list(lab):
    """CRLURL=: a list is fetched and in force without a reload; it stays while its server is away"""
    folder = os.path.join(lab.dir, "up/lists")
    os.makedirs(folder, exist_ok=True)

    def publish(content):
        with open(f"{folder}/new", "wb") as f:
            f.write(content)
        os.rename(f"{folder}/new", f"{folder}/devices.crl")

    def fetch():
        return status(lab)["trust"]["fetch"]

    def again():
        """As if CRLInterval= had passed: a reload fetches soon."""
        lab.run("gw", "sallyportctl", "reload", quiet=True)

    publish(revocation_list(lab).encode())
    server = lab.start("up", "/usr/bin/python3", "-c", f"import os; os.chdir({folder!r})\n{SERVER}",
                       quiet=True)
    check(wait_until(lambda: lab.run("up", "bash", "-c", "exec 3<>/dev/tcp/203.0.113.10/8080", ok=False,
                                     quiet=True).returncode == 0, 10), "the web server does not start")
    with changed(lab, "sallyport.conf.d/trust.conf",
                 lambda _: "[Devices]\nCRLURL=http://203.0.113.10:8080/devices.crl\n"):
        again()
        check(wait_until(lambda: fetch().get("fetched_seconds") is not None, 10), f"not fetched: {fetch()}")
        check(status(lab)["trust"]["lists"] == 1, "the list is not in force")
        kept_file = os.path.join(lab.dir, "gw/var-lib/sallyport/devices.crl")
        os.unlink(kept_file)
        again()
        check(wait_until(lambda: os.path.exists(kept_file) and status(lab)["trust"]["lists"] == 1, 10),
              f"a file that was removed is not fetched again: {fetch()}")
        os.unlink(kept_file)
        with open(f"{folder}/deaf", "w"):
            again()
            check(wait_until(lambda: "status 304" in fetch().get("error", ""), 10),
                  f"no list counts as confirmed: {fetch()}")
        os.unlink(f"{folder}/deaf")
        again()
        check(wait_until(lambda: status(lab)["trust"]["lists"] == 1, 10), f"not fetched: {fetch()}")
        subscribers = stay(lab, "dev1"), stay(lab, "dev2")
        before = {n: connections(lab, ADDRESSES[n]) for n in ("dev1", "dev2")}
        publish(revocation_list(lab, "dev1").encode())
        again()
        check(wait_until(lambda: device(lab, "dev1")["revoked"], 10), f"dev1 is not revoked: {fetch()}")
        gone(lab, "dev1", "was revoked")
        check(kept(lab, before) == {"dev2"}, "dev2 lost its connection, or dev1 kept it")
        lab.say("dev1 is on the list that was fetched: it is out, dev2 is in")
        for content, words in ((b"nonsense", "not a usable revocation list"),
                               (revocation_list(lab, authority="foreign").encode(),
                                "its issuer is not among the authorities")):
            publish(content)
            again()
            check(wait_until(lambda w=words: w in fetch().get("error", ""), 10), f"status: {fetch()}")
            check(device(lab, "dev1")["revoked"], "nonsense lets dev1 in again")
        lab.stop(server)
        again()
        check(wait_until(lambda: "usable" not in fetch().get("error", "usable")
                         and "issuer" not in fetch()["error"], 10), f"status: {fetch()}")
        lab.say(f"the server is away: {fetch()['error']}")
        lab.service("stop", "daemon")
        lab.service("start", "daemon")
        check(status(lab)["trust"]["lists"] == 1, "after a restart the list is gone")
        p = lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "t", "-m", "x"), ok=False,
                    quiet=True)
        check(p.returncode != 0, "after a restart dev1 is let in")
        for p in subscribers:
            lab.stop(p)
    lab.run("gw", "rm", "-f", "/var/lib/sallyport/devices.crl", quiet=True)
    lab.service("stop", "daemon")
    lab.service("start", "daemon")
    lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "t", "-m", "x"))


STEPS = [resumption, bad_lists, long_one, revocation, fetched_list, authorities, minimum_tls]
