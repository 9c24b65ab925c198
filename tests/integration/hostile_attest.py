# SPDX-License-Identifier: GPL-3.0-or-later
"""What a verdict rests on is taken away under the running daemon: the device's enrolment, its
reference values."""

import base64
import contextlib
import json
import os
import re
import subprocess

from cryptography.hazmat.primitives.asymmetric import ec

from hostile_coap import Firmware, opened
from lab import TOOLS, check, wait_until
from peers import Reasons
from reload import reload
from steps import PROBE, UPSTREAM, coap, device

import attestation as a  # hostile_coap knows where


@contextlib.contextmanager
def replaced(lab, name, change):
    """A file of the gateway's configuration with other bytes, for as long as it takes; with a
    reload before and after."""
    path = os.path.join(lab.dir, "gw/etc/sallyport", name)
    with open(path, "rb") as f:
        before = f.read()

    def write(data):
        with open(path, "wb") as f:
            f.write(data)
        reload(lab)
    try:
        write(change(before))
        yield
    finally:
        write(before)


def shown(lab, f):
    """dev3 attests, is affirming and its filter is open."""
    code, result = f.exchange(f.token(f.claims(f.nonce())))
    state = device(lab, "dev3")
    check(code == "2.04" and state["posture"] == "affirming", f"{code}, dev3 is {state}")
    check(opened(lab), "the filter is shut")
    return result


def result(lab):
    """The status in the last result that the gateway gives dev3, or how it is refused."""
    said = lab.run("dev3", *coap("dev3", "get", "/rats/result"), quiet=True, ok=False)
    if not said.stdout:
        return said.stderr.strip()[:4]
    payload = said.stdout.strip().split(".")[1]
    ear = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return ear["submods"]["dev3"]["ear.status"]


def void(lab, why):
    state = device(lab, "dev3")
    lab.say(f"dev3 is {state['posture']}: {state['reason']}")
    check(state["posture"] == "unattested" and why in state["reason"], f"dev3 is {state}")
    check(wait_until(lambda: not opened(lab), 5), "the filter stays open")
    check(result(lab) == "4.04", "the old result is still given out")


def other_instance(text):
    return re.sub(rb"(InstanceID=01)(..)", lambda m: m[1] + (b"01" if m[2] == b"00" else b"00"),
                  text)


def enrolment(lab):
    """A device that is enrolled anew loses what it had shown; others keep theirs"""
    f = Firmware(lab)
    lab.listen("inet", PROBE, "--listen", "tcp:80", "tcp:22")
    first = shown(lab, f)
    reload(lab)
    with replaced(lab, "devices.d/dev1.conf", lambda text: text + b"# another line\n"):
        check(device(lab, "dev3")["posture"] == "affirming" and opened(lab) and first,
              "a reload that does not concern dev3 costs its verdict")
    other = a.public_pem(ec.generate_private_key(ec.SECP256R1()).public_key())
    for file, change, why in (
            ("dev3-iak.pub", lambda _: other, "its attestation key is another"),
            ("devices.d/dev3.conf", lambda t: t.replace(b"=controller", b"=sensor"), "its class"),
            ("devices.d/dev3.conf", other_instance, "its Instance ID"),
            ("devices.d/dev3.conf", lambda t: t + b"CertificateSPKI=" + b"00" * 32 + b"\n",
             "its certificate is another")):
        shown(lab, f)
        seen = Reasons(lab, DEVICE="dev3")
        with replaced(lab, file, change):
            seen.wait("enrolled-anew")
            check(device(lab, "dev3")["posture"] == "unattested", f"{file}: the verdict stays")
        void(lab, why)
    f.post(f.token({**f.claims(f.nonce()), 2395: 0x6000}))


def other_references(lab):
    """The firmware's maker withdraws what dev3 runs: a CoRIM with another application."""
    path = os.path.join(lab.dir, "other.corim")
    subprocess.run([os.path.join(TOOLS, "corim-make"),
                    "--component", f"name=bootloader,version=1.0,file={lab.pki}/bootloader.bin",
                    "--component", "name=application,version=1.1,digest=" + "77" * 32, path],
                   check=True, timeout=30)
    with open(path, "rb") as f:
        return f.read()


def references(lab):
    """Reference values that no longer hold what dev3 runs: its verdict is judged anew at once"""
    f = Firmware(lab)
    lab.listen("inet", PROBE, "--listen", "tcp:80", "tcp:22")
    shown(lab, f)
    check(result(lab) == "affirming", "the result is not affirming")
    before = len(lab.arrived())
    with replaced(lab, "dev3.corim", lambda _: other_references(lab)):
        state = device(lab, "dev3")
        lab.say(f"dev3 is {state['posture']}: {state['reason']}")
        check(state["posture"] == "warning", f"dev3 is {state['posture']}")
        check("the reference values changed: component" in state["reason"], state["reason"])
        check(wait_until(lambda: not opened(lab), 5), "the filter stays open")
        check(wait_until(lambda: result(lab) == "warning", 30), "the result is another")
        check(wait_until(lambda: told_upstream(lab, before, "dev3=warning"), 60),
              "upstream does not hear of it")
    check(device(lab, "dev3")["posture"] == "warning", "it is trusted more without a fresh report")
    shown(lab, f)
    f.post(f.token({**f.claims(f.nonce()), 2395: 0x6000}))


def told_upstream(lab, before, expect):
    """Has a report with this verdict arrived since?"""
    path = os.path.join(lab.dir, "report.cose")
    for topic, _, payload in lab.arrived()[before:]:
        if topic == f"{UPSTREAM}/gateway/rats/report":
            with open(path, "wb") as f:
                f.write(payload)
            if lab.run("up", os.path.join(TOOLS, "verify-report"), "--ca", "operator.pem", "--ak",
                       "gw1-ak.pub", "--expect", expect, path, quiet=True, ok=False).returncode == 0:
                return True
    return False
