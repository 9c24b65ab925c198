# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on attestation over MQTT."""

import collections
import os
import struct

import cbor2

from attest_mqtt import PROBLEM, PSA, Device, status
from hostile_coap import Firmware, opened
from hostile_mqtt import OK
from lab import check
from peers import Reasons, connect, gateway_tls, packet, packets, publish, raw, subscribe, text, told
from steps import PROBE, device

CHALLENGE, EVIDENCE = "rats/dev3/challenge", "rats/dev3/evidence"


def response_topic(topic):
    return b"\x08" + text(topic)


# what is published, its properties and its payload; the reason in PUBACK
REFUSED = [
    ("rats/dev1/challenge", b"", b"", 0x87),
    ("rats/dev1/evidence", b"", b"x", 0x87),
    ("rats/dev3", b"", b"x", 0x87),
    ("rats/dev3/", b"", b"x", 0x87),
    ("rats/dev3/nonce", b"", b"x", 0x90),
    ("rats/dev3/result", b"", b"x", 0x90),
    ("rats/dev3/challenge/x", b"", b"", 0x90),
    (CHALLENGE, response_topic("rats/dev1/nonce"), b"", 0x87),
    (CHALLENGE, response_topic("dev3/nonce"), b"", 0x87),
    (CHALLENGE, response_topic("dev1/cmd/x"), b"", 0x87),
    (CHALLENGE, response_topic(EVIDENCE), b"", 0x87),
    (EVIDENCE, response_topic("rats/dev1/result"), b"x", 0x87),
    (EVIDENCE, response_topic(CHALLENGE), b"x", 0x87),
    (CHALLENGE, b"", cbor2.dumps({"len": 7}), 0x99),
    (CHALLENGE, b"", cbor2.dumps({"len": 65}), 0x99),
    (CHALLENGE, b"", cbor2.dumps({"len": 2**64 - 1}), 0x99),
    (CHALLENGE, b"", b"\x9b\0\0\0\0\x40\0\0\0", 0x99),
    (CHALLENGE, b"", b'{"len": 8', 0x99),
    (CHALLENGE, b"", b"[" * 9000, 0x99),
    (CHALLENGE, b"\x03" + text("text/html"), b"", 0x99),
    (EVIDENCE, b"", bytes(16385), 0x97),
]


def session(lab, *sent, version=5, client="dev3", wait=2):
    hello = connect(client, version=version)
    return raw(lab, "dev3", gateway_tls({"cert": "dev3", "wait": wait,
                                         "send": [(hello + b"".join(sent)).hex()]}))[0]


def publish3(topic, payload=b"x", number=1):
    return packet(0x32, text(topic) + struct.pack(">H", number) + payload)


def subscribe3(topic):
    return packet(0x82, b"\0\x01" + text(topic) + b"\x01")


def answers(heard):
    """Payloads of the 3.1.1 messages with QoS 1 in what was heard."""
    found = []
    for first, body in packets(heard):
        if first & 0xf0 == 0x30:
            found.append(body[4 + struct.unpack(">H", body[:2])[0]:])
    return found


def topics(lab):
    """Challenges and evidence where they do not belong, too long or none: each is refused"""
    seen = Reasons(lab, DEVICE="dev3")
    a = session(lab, *(publish(t, payload, number=i, properties=properties)
                       for i, (t, properties, payload, _) in enumerate(REFUSED, 1)))
    heard = told(a["heard"])
    expected = [OK] + [f"PUBACK {code:#04x}" for *_, code in REFUSED]
    wrong = [(REFUSED[i - 1][:2], heard[i:i + 1]) for i in range(1, len(expected))
             if heard[i:i + 1] != expected[i:i + 1]]
    check(heard == expected, f"{wrong} of {heard}")
    seen.wait("reserved-topic", PEER="")
    lab.say(f"{len(REFUSED)} of them, each with its reason, and the connection goes on")
    a = session(lab, publish(CHALLENGE, properties=response_topic("rats/dev3/#")))
    check(told(a["heard"]) == [OK, "DISCONNECT 0x82"], f"a wildcard to answer to: {told(a['heard'])}")
    a = session(lab, subscribe("rats/dev1/#", "rats/#", "rats/dev3/#"))
    code = packets(a["heard"])[-1][1][-3:]
    check(code == b"\x87\x87\x01", f"subscriptions below rats/: {code.hex()}")


def flood(lab):
    """Floods of challenges and of evidence, in both versions"""
    many = 300
    a = session(lab, *(publish(CHALLENGE, b"", number=i) for i in range(1, many + 1)), wait=3)
    heard = collections.Counter(told(a["heard"])[1:])
    lab.say(f"{many} challenges, MQTT 5: {dict(heard)}")
    check(heard["PUBACK 0x97"] + heard["PUBACK 0x00"] == many and 1 <= heard["PUBACK 0x00"] <= 4,
          f"{heard}")
    a = session(lab, subscribe3("rats/dev3/#"),
                *(publish3(CHALLENGE, b"", number=i) for i in range(1, 21)), version=4, wait=3)
    heard = [cbor2.loads(p) for p in answers(a["heard"])]
    lab.say(f"20 challenges, 3.1.1: nonces {sum('nonce' in h for h in heard)}, "
            f"problems {sum(h.get(-4) == 0x9d for h in heard)}; the connection is {a['end']}")
    check(len(heard) == 20 and sum("nonce" in h for h in heard) <= 2, f"{heard}")
    check(a["end"] not in ("eof", "reset"), "3.1.1 loses its connection for asking too soon")
    a = session(lab, *(publish(EVIDENCE, os.urandom(4000), number=i) for i in range(1, 51)), wait=4)
    heard = collections.Counter(told(a["heard"])[1:])
    lab.say(f"50 times garbage as evidence: {dict(heard)}")
    check(heard["PUBACK 0x97"] + heard["PUBACK 0x00"] == 50, f"{heard}")


def evidence(lab):
    """Evidence over MQTT that proves nothing: forged, replayed, of another type"""
    lab.listen("inet", PROBE, "--listen", "tcp:80", "tcp:22")
    f, d = Firmware(lab), Device(lab, "dev3", "mqttv5", quiet=True)
    seen = Reasons(lab, DEVICE="dev3")

    def refused(what, token, code, kind=PSA):
        said = d.ask("evidence", "result", token, kind)
        problem = cbor2.loads(said[2])
        check(said[0] == PROBLEM and problem[-4] == code, f"{what} is answered with {said}")
        lab.say(f"{what}: {code >> 5}.{code & 31:02}, {problem[-2]}")
    good = f.claims(d.nonce())
    genuine = f.token(good)
    refused("garbage", os.urandom(200), 0x80)
    refused("a token without its wrapper", f.token(f.claims(os.urandom(32))), 0x80, None)
    refused("another type", b"x", 0x8f, "application/octet-stream")
    seen.wait("malformed")
    before = d.evidence(genuine)
    check(status("dev3", before[2]) == "affirming" and opened(lab), "the genuine token does not open")
    check(d.evidence(genuine) == before, "sent again, the same token has another answer")
    refused("a nonce used twice", f.token({**good, 268: bytes(31) + b"\1"}), 0x89)
    refused("a nonce that was never given", f.token(f.claims(os.urandom(32))), 0x89)
    other = Device(lab, "dev1", "mqttv5", quiet=True).nonce()
    refused("the nonce of dev1", f.token(f.claims(other)), 0x89)
    seen.wait("not-fresh")
    check(device(lab, "dev3")["posture"] == "affirming", "what was not fresh changes the posture")
    said = d.evidence(f.token({**f.claims(d.nonce()), 2395: 0x6000}))
    check(status("dev3", said[2]) == "contraindicated" and not opened(lab), "decommissioned is open")
    # Closed, it has this way back, whatever else it may not do.
    check(status("dev3", d.evidence(f.token(f.claims(d.nonce())))[2]) == "affirming", "no way back")
    d.evidence(f.token({**f.claims(d.nonce()), 2395: 0x6000}))
