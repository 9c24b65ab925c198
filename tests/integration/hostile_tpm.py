# SPDX-License-Identifier: GPL-3.0-or-later
"""A TPM that goes away, comes back, or does not answer, under the running daemon."""

import json
import os
import shutil
import subprocess
import time

from hostile_attest import result, shown, told_upstream
from hostile_coap import Firmware, opened
from lab import TREE, check, wait_until
from peers import Reasons
from steps import PROBE, device, mqtt, reports


def away(lab, daemon):
    """The TPM goes away and comes back: verdicts are enforced, telemetry goes on, all is made up"""
    f = Firmware(lab)
    lab.listen("inet", PROBE, "--listen", "tcp:80", "tcp:22")
    first = f.nonce()
    genuine = f.token(f.claims(first))
    seen = Reasons(lab, _COMM="sallyportd")
    before = len(lab.arrived())
    lab.service("stop", "swtpm")
    try:
        code = f.post(genuine)
        lab.say(f"dev3's token without a TPM: {f.said!r}")
        check(code == "5.00" and "could not be signed" in f.said, f"it is answered {f.said}")
        check(f.post(genuine) == "5.00", "sent again it is answered in another way")
        state = device(lab, "dev3")
        check(state["posture"] == "affirming" and opened(lab), f"it is not in force: {state}")
        check(result(lab) == "4.04", "there is a result that nobody signed")
        for words in ("Cannot sign the attestation result of dev3", "it is tried again"):
            check(wait_until(lambda w=words: said(seen, w), 10), f"the journal has no \"{words}\"")
        daemon.serves()
        second = f.nonce()
        check(f.post(f.token({**f.claims(second), 2395: 0x6000})) == "5.00", "it is signed")
        check(device(lab, "dev3")["posture"] == "contraindicated" and not opened(lab),
              "a bad verdict is not in force")
        lab.say("verdicts are in force, for better and for worse; telemetry of dev1 and dev2 arrives")
        check(not shows(lab, first) and not shows(lab, second), "a report was made without a TPM")
        check(tpm_state(lab)["state"] == "away" and "Cannot open the TPM" in tpm_state(lab)["reason"],
              f"the status does not tell: {tpm_state(lab)}")
        lab.say(f"status: {tpm_state(lab)}")
    finally:
        lab.run("gw", "rm", "-f", "/run/tpm/sock", quiet=True)
        lab.service("start", "swtpm")
    check(wait_until(lambda: tpm_state(lab)["state"] == "ok", 15), "it does not come back by itself")
    check(wait_until(lambda: shows(lab, second), 90),
          "the report that could not be made is not made up for")
    check(wait_until(lambda: said(seen, "The TPM is back"), 5), "the journal does not say that the TPM is back")
    shown(lab, f)
    check(result(lab) == "affirming", "the result is another")
    check(wait_until(lambda: told_upstream(lab, before, "dev3=affirming"), 60),
          "upstream does not hear of it")
    lab.say("the TPM is back: the report is made up for, the next result is signed")
    f.post(f.token({**f.claims(f.nonce()), 2395: 0x6000}))


def copies(lab, daemon):
    """While the daemon does not run its store is replaced by an older copy, and taken away"""
    state = os.path.join(lab.dir, "gw/var-lib/sallyport")
    kept = os.path.join(lab.dir, "older-store")

    def anchor():
        return json.loads(lab.run("gw", "sallyportctl", "status", "--json",
                                  quiet=True).stdout)["store"]["anchor"]

    def restart(meddle):
        lab.service("stop", "daemon")
        meddle()
        lab.service("start", "daemon")
        return anchor()

    def publish(text):
        lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "copies", "-m", text),
                quiet=True)

    def replace():
        shutil.rmtree(f"{state}/store")
        shutil.copytree(kept, f"{state}/store")
        lab.run("gw", "chown", "-R", "sallyport:sallyport", "/var/lib/sallyport/store", quiet=True)

    number = os.getpid()
    publish(f"first {number}")
    found = restart(lambda: shutil.copytree(f"{state}/store", kept))
    check(not found["replaced"], f"the gateway does not know its own store: {found}")
    publish(f"second {number}")
    seen = Reasons(lab, REASON="state-replaced")
    before = len(lab.arrived())
    found = restart(replace)
    check(found["replaced"] and "older copy" in found["found"], f"nobody notices: {found}")
    check(seen.new(), "the journal says nothing")
    lab.say(f"an older copy: {found['found']}")
    check(wait_until(lambda: any(t.endswith("/gateway/audit") and b"older copy" in p
                                 for t, _, p in lab.arrived()[before:]), 20),
          "upstream does not hear of it")
    found = restart(lambda: None)
    check(not found["replaced"], f"it is said a second time: {found}")
    found = restart(lambda: shutil.rmtree(f"{state}/store"))
    check(found["replaced"] and "another one" in found["found"], f"nobody notices: {found}")
    with open(f"{state}/revoked", "a"):
        pass
    lab.run("gw", "bash", "-c", "echo '# 5' >/var/lib/sallyport/revoked", quiet=True)
    check(not restart(lambda: None)["replaced"], "a newer file of who is revoked is taken for an older one")
    found = restart(lambda: os.remove(f"{state}/revoked"))
    check(found["replaced"] and "who is revoked" in found["found"], f"nobody notices: {found}")
    found = restart(lambda: os.remove(f"{state}/identity/anchor.json"))
    check(found["replaced"] and "is gone" in found["found"], f"nobody notices: {found}")
    lab.run("gw", "bash", "-c", "kill -KILL $(cat /run/daemon.pid)", quiet=True)
    lab.service("start", "daemon")
    check(not anchor()["replaced"], f"a crash is taken for a replacement: {anchor()}")
    shutil.rmtree(kept)
    daemon.restarted()
    daemon.serves()


AS_DAEMON = ["setpriv", "--reuid=sallyport", "--regid=sallyport", "--init-groups"]


def shows(lab, nonce):
    """Is there a report upstream with the evidence that carries this nonce?"""
    return any(nonce in payload for payload in reports(lab).values())


def said(seen, words):
    return [e["MESSAGE"] for e in seen.new() if words in e["MESSAGE"]]


def hand_over(lab, folder):
    """The operator's key is followed by another one, under which alone a policy is installed."""
    etc, ctl = os.path.join(lab.dir, "gw/etc/sallyport"), os.path.join(
        os.environ.get("LAB_BUILD", os.path.join(TREE, "build")), "src/cli/sallyportctl")
    pki = os.path.join(lab.pki, "next-policy")
    for argv in (["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out",
                  f"{pki}.key"],
                 ["openssl", "ec", "-in", f"{pki}.key", "-pubout", "-out", f"{etc}/next.pub"]):
        subprocess.run(argv, check=True, capture_output=True)
    os.chmod(f"{etc}/next.pub", 0o644)
    draft = lab.run("gw", *AS_DAEMON, "sallyportctl", "policy", "handover", "--to",
                    "/etc/sallyport/next.pub").stdout
    now = json.load(open(os.path.join(lab.dir, "policy.json")))
    now["operator-key"] = open(f"{etc}/next.pub").read()
    for name, text, key in (("handover", draft, f"{lab.pki}/policy.key"),
                            ("next", json.dumps(now), f"{pki}.key")):
        with open(f"{pki}-{name}.json", "w") as out:
            out.write(text)
        subprocess.run([ctl, "policy", "sign", "--key", key, f"{pki}-{name}.json", "-o",
                        f"{etc}/{name}.json"], check=True)
        os.chmod(f"{etc}/{name}.json", 0o644)
    for n in os.listdir(folder):
        os.remove(os.path.join(folder, n))
    for name in ("handover", "next"):
        lab.run("gw", *AS_DAEMON, "sallyportctl", "policy", "install", f"/etc/sallyport/{name}.json")
    lab.run("gw", "sallyportctl", "reload", quiet=True)


def tpm_state(lab):
    return json.loads(lab.run("gw", "sallyportctl", "status", "--json",
                              quiet=True).stdout)["identity"]["tpm"]


def policies(lab, daemon):
    """Policies come and go while the daemon runs; the one that holds is used"""
    folder = os.path.join(lab.dir, "gw/var-lib/sallyport/identity/policies")
    kept = {n: open(os.path.join(folder, n)).read() for n in os.listdir(folder)}
    seen = Reasons(lab, _COMM="sallyportd")

    f = Firmware(lab)

    def attests(word):
        code = f.post(f.token(f.claims(f.nonce())))
        check((code == "2.04") == word, f"the gateway's result is answered {code} {f.said}")
    try:
        attests(True)
        lab.run("gw", *AS_DAEMON, "sallyportctl", "policy", "install", "/etc/sallyport/update.json")
        lab.run("gw", "sallyportctl", "reload", quiet=True)
        attests(True)
        for n in kept:
            os.remove(os.path.join(folder, n))
        lab.run("gw", "sallyportctl", "reload", quiet=True)
        attests(False)
        check(said(seen, "PCR 7 is"), "the journal does not say which PCR differs")
        lab.say("with the policy for the state after the update alone nothing signs")
        hand_over(lab, folder)
        attests(True)
        lab.say("another operator key, by a hand-over and a reload: what it signed holds")
    finally:
        for n in os.listdir(folder):
            os.remove(os.path.join(folder, n))
        for n, text in kept.items():
            with open(os.path.join(folder, n), "w") as out:
                out.write(text)
            os.chmod(os.path.join(folder, n), 0o644)
        lab.run("gw", "sallyportctl", "reload", quiet=True)
    attests(True)
    daemon.serves()
    time.sleep(1.1)  # a nonce a second


def signal(lab, name, service):
    lab.run("gw", "bash", "-c", f"kill -{name} $(cat /run/{service}.pid)", quiet=True)


def stop_in_the_middle(lab, f, number):
    """Asks the daemon to stop while the TPM, which is held, has a result of dev3 to sign; hands out
    what the journal says from then on."""
    seen = Reasons(lab, _COMM="sallyportd")
    path = os.path.join(lab.pki, "held.token")
    with open(path, "wb") as out:
        out.write(f.token(f.claims(f.nonce())))
    signal(lab, "STOP", "swtpm")
    lab.start("dev3", "coap-client-openssl", "-B", "20", "-m", "post", "-c", "dev3.pem", "-j",
              "dev3.key", "-C", "operator.pem", "-t", "10003", "-f", path,
              "coaps://10.10.0.1/rats/evidence", quiet=True)
    check(wait_until(lambda: said(seen, "dev3 is affirming"), 20), "dev3's token is not judged")
    # Acknowledged: durable, whatever comes.
    lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "last", "-m", f"last {number}"),
            quiet=True)
    signal(lab, "TERM", "daemon")
    check(wait_until(lambda: said(seen, "Stopping"), 10), "the daemon does not begin to stop")
    return seen


def ended(lab):
    return lab.run("gw", "bash", "-c", "kill -0 $(cat /run/daemon.pid)", quiet=True,
                   ok=False).returncode != 0


def stops(lab, daemon):
    """The daemon is asked to stop while the TPM works, and while it never answers"""
    f = Firmware(lab)
    number, gave_up = os.getpid(), "The TPM did not answer in time"
    try:
        seen = stop_in_the_middle(lab, f, number)
        signal(lab, "CONT", "swtpm")
        check(wait_until(lambda: ended(lab), 30), "it does not end when the TPM has answered")
        check(not said(seen, gave_up), "it did not wait for the TPM")
        lab.service("start", "daemon")
        lab.say("the TPM answers: the daemon has waited for it, and ends")
        seen = stop_in_the_middle(lab, f, number + 1)
        check(wait_until(lambda: ended(lab), 30), "it does not end while the TPM is silent")
        check(wait_until(lambda: said(seen, gave_up), 5), "it does not say that the TPM did not answer")
        lab.say("the TPM is silent: after five seconds the daemon ends all the same, and says so")
    finally:
        signal(lab, "CONT", "swtpm")
        lab.close()
        lab.service("start", "daemon")
    daemon.restarted()
    for n in (number, number + 1):
        lab.wait_arrived(lambda t, p, n=n: p == f"last {n}".encode(), f"the message before stop {n}")
    f.post(f.token({**f.claims(f.nonce()), 2395: 0x6000}))


away.own = stops.own = policies.own = copies.own = True
