# SPDX-License-Identifier: GPL-3.0-or-later
"""A device that attests over MQTT, with mosquitto_pub and mosquitto_sub."""

import base64
import json
import os
import tempfile
import time

import cbor2

from lab import TOOLS, check
from steps import INTERNET, PROBE, device, mqtt

PSA = 'application/eat+cwt; eat_profile="tag:psacertified.org,2023:psa#tfm"'
NONCE = "application/est-attestation-freshness+cbor"
RESULT = 'application/eat+jwt; eat_profile="tag:github.com,2023:veraison/ear"'
PROBLEM = "application/concise-problem-details+cbor"


class Device:
    """Asks in one session and listens for the answer in another. `version` is mqttv5 or mqttv311."""

    def __init__(self, lab, name, version, quiet=False):
        self.lab, self.name, self.version, self.quiet = lab, name, version, quiet
        self.last = 0.0

    def listen(self, topic):
        p = self.lab.start(self.name, "stdbuf", "-oL", *mqtt(
            "mosquitto_sub", self.name, "-q", "1", "-t", topic, "-C", "1", "-W", "10", "-d", "-F",
            "answer|%C|%D|%x", version=self.version, client=f"{self.name}/listens"), quiet=True)
        while not (line := p.stdout.readline()).startswith("Subscribed"):
            check(line, f"{self.name} cannot listen at {topic}")
        return p

    def ask(self, question, answers, payload=b"", content_type=None, response=False):
        """Content type, correlation data and payload of the answer. MQTT 5 tells by properties
        what is sent and, with `response`, where the answer is wanted."""
        said = []
        if content_type:
            said += ["-D", "publish", "content-type", content_type]
        if response:
            said += ["-D", "publish", "response-topic", f"rats/{self.name}/{answers}",
                     "-D", "publish", "correlation-data", "c-17"]
        listener = self.listen(f"rats/{self.name}/{answers}")
        with tempfile.NamedTemporaryFile() as f:
            f.write(payload)
            f.flush()
            self.lab.run(self.name, *mqtt("mosquitto_pub", self.name, "-q", "1", "-t",
                                          f"rats/{self.name}/{question}", "-f", f.name, *said,
                                          version=self.version), quiet=self.quiet)
        lines = listener.communicate(timeout=20)[0].splitlines()
        heard = [line.split("|") for line in lines if line.startswith("answer|")]
        check(heard, f"{self.name} hears nothing at rats/{self.name}/{answers}")
        return heard[0][1], heard[0][2], bytes.fromhex(heard[0][3])

    def nonce(self):
        time.sleep(max(0.0, self.last + 1.1 - time.monotonic()))  # one a second is what it gets
        kind, _, payload = self.ask("challenge", "nonce")
        self.last = time.monotonic()
        check(kind == (NONCE if self.version == "mqttv5" else ""), f"the nonce is {kind}")
        answer = cbor2.loads(payload)
        check("nonce" in answer, f"in place of a nonce comes {answer}")
        return answer["nonce"]

    def evidence(self, token):
        """As MQTT 5 says what a message is, and as 3.1.1 has to."""
        if self.version == "mqttv5":
            return self.ask("evidence", "verdicts/1", token, PSA, response=True)
        return self.ask("evidence", "result", cbor2.dumps([10003, token]))


def status(name, jwt):
    payload = jwt.decode().split(".")[1]
    ear = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return ear["submods"][name]["ear.status"]


def make_token(lab, name, nonce, application):
    path = os.path.join(lab.pki, f"{name}.token")
    lab.run(name, os.path.join(TOOLS, "psa-token"), "make", "--key", f"{name}-iak.key",
            "--nonce", nonce.hex(), "--component", "name=bootloader,version=1.0,file=bootloader.bin",
            "--component", f"name=application,version=1.0,file={application}", "--output", path,
            quiet=True)
    with open(path, "rb") as f:
        return f.read()


def attested(lab):
    """dev3 attests over MQTT, 5 and 3.1.1: its egress opens and closes with what it shows"""
    lab.listen("inet", PROBE, "--listen", "tcp:80")
    for version in ("mqttv5", "mqttv311"):
        d = Device(lab, "dev3", version)
        for application, expected in (("application.bin", "affirming"), ("tampered.bin", "warning")):
            kind, correlation, jwt = d.evidence(make_token(lab, "dev3", d.nonce(), application))
            if version == "mqttv5":
                check((kind, correlation) == (RESULT, "c-17"), f"the result is {kind} {correlation}")
            state = device(lab, "dev3")
            lab.say(f"{version}, {application}: {status('dev3', jwt)}")
            check(status("dev3", jwt) == state["posture"] == expected, f"dev3 is {state}")
            said = lab.run("dev3", PROBE, f"tcp:{INTERNET}:80", quiet=True).stdout.split()
            check(("open" in said) == (expected == "affirming"), f"{expected}: {said}")
