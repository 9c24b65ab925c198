# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on the CoAP door and with evidence."""

import os
import sys
import tempfile
import time

import cbor2
from cryptography.hazmat.primitives.asymmetric import ec

from hostile_mqtt import make_certificates
from lab import TOOLS, check, wait_until
from peers import (DELETE, GET, NON, PLANT, POST, Reasons, codes, message, raw)
from steps import GATEWAY, INTERNET, PROBE, coap, device

sys.path.insert(0, TOOLS)
import attestation as a  # noqa: E402

LONG = ["a" * 250] * 4 + ["b" * 30]
EVIDENCE = ["rats", "evidence"]
REQUESTS = [
    ("an unknown path", (GET, ["nothing"]), {}, "4.04"),
    ("a wrong method", (DELETE, ["t", "x"]), {}, "4.05"),
    ("a path that is not UTF-8", (POST, ["t", b"\xff\xfe"], b"x"), {}, "4.00"),
    ("U+0000 in the path", (POST, ["t", b"a\0b"], b"x"), {}, "4.00"),
    ("/t without a topic", (POST, ["t"], b"x"), {}, "4.00"),
    ("/t/ with an empty topic", (POST, ["t", ""], b"x"), {}, "4.00"),
    ("/t/..", (POST, ["t", ".."], b"x"), {}, "4.00"),
    ("a very long topic", (POST, ["t", *LONG], b"x"), {}, "4.00"),
    ("a wildcard", (POST, ["t", "#"], b"x"), {}, "4.00"),
    ("a slash within a segment", (POST, ["t", "a/b"], b"x"), {}, "4.00"),
    ("a later block without the first", (POST, ["t", "x"], b"y" * 1024), {"block1": 3 << 4 | 14},
     "4.08"),
    ("a reserved block size", (POST, ["t", "x"], b"y" * 16), {"block1": 7}, "4.00"),
    ("evidence of another format", (POST, EVIDENCE, b"x"), {"content_format": 0}, "4.15"),
    ("evidence without a format", (POST, EVIDENCE, b"x"), {}, "4.15"),
    ("NON evidence", (POST, EVIDENCE, b"x"), {"content_format": 10003, "kind": NON}, "4.00"),
    ("a nonce of 7 bytes", (POST, ["rats", "nonce"], cbor2.dumps({"len": 7})), {}, "4.00"),
    ("a nonce of 65 bytes", (POST, ["rats", "nonce"], cbor2.dumps({"len": 65})), {}, "4.00"),
    ("a nonce asked with garbage", (POST, ["rats", "nonce"], b"\x9b\0\0\0\0\x40\0\0\0"), {},
     "4.00"),
]


def dtls(send, cert="dev2", **more):
    return {"to": f"{PLANT}:5684", "cert": cert, "dtls": True, "pause": 0.12,
            "send": [s.hex() for s in send], **more}


def requests(lab):
    """CoAP requests that are wrong: each has its answer"""
    before = len(lab.arrived())
    send = [message(*args, number=i, **more)
            for i, (_, args, more, _) in enumerate(REQUESTS, 1)]
    junk = [b"\xff" * 40, b"\x42\x02", b"\x4f\x01\0\x01"]
    got = codes(raw(lab, "dev2", dtls(send + junk))[0]["heard"])
    wrong = [f"{name}: {got.get(i)}, not {code}"
             for i, (name, _, _, code) in enumerate(REQUESTS, 1) if got.get(i) != code]
    check(not wrong, "; ".join(wrong))
    lab.say(f"{len(REQUESTS)} requests, each with the right code; datagrams that are no CoAP: none")
    # 17 blocks of 1024 bytes are more than a body may have.
    blocks = [message(POST, ["t", "big"], b"z" * 1024, number=40 + i, block1=i << 4 | 8 | 6)
              for i in range(17)]
    got = codes(raw(lab, "dev2", dtls(blocks))[0]["heard"])
    lab.say(f"a body over the cap: {sorted(set(got.values()))}")
    check(got.get(56) == "4.13" and got.get(40) == "2.31", f"blocks are answered with {got}")
    asks = [message(GET, ["rats", "nonce"], number=80 + i) for i in range(10)]
    got = codes(raw(lab, "dev2", dtls(asks, pause=0.05))[0]["heard"])
    lab.say(f"ten nonces at once: {[got.get(80 + i) for i in range(10)]}")
    check(sum(c == "2.05" for c in got.values()) <= 2 and "4.29" in got.values(), f"{got}")
    time.sleep(0.3)
    check(not [t for t, _, _ in lab.arrived()[before:] if "/dev2/" in t],
          "something of it arrived upstream")


def handshakes(lab):
    """DTLS handshakes of strangers, and floods of datagrams"""
    make_certificates(lab)
    seen = Reasons(lab, TRANSPORT="coap")
    hello = [message(GET, ["t"])]
    for name, alert, reason in (("liar", "unknown ca", "unknown-ca"),
                                ("expired", "certificate expired", "expired"),
                                (None, "handshake failure", "no-certificate")):
        answer = raw(lab, "dev2", dtls(hello, cert=name, wait=3))[0]
        lab.say(f"{name or 'no certificate'}: {answer['end']}; journal: {reason}")
        check(not answer["heard"], f"{name} hears an answer")
        check(alert in answer["end"], f"{name} hears {answer['end']}, not {alert}")
        seen.wait(reason, PEER="10.20.0.12:")
    answer = raw(lab, "dev2", dtls(hello, cert="dev1", wait=3))[0]
    check(not answer["heard"], "dev1's certificate is good at dev2's address")
    seen.wait("wrong-address", PEER="10.20.0.12:")

    flood = lab.start("dev3", "/usr/bin/python3", "-c", FLOOD, GATEWAY, quiet=True)
    time.sleep(0.3)
    began = time.monotonic()
    lab.run("dev2", *coap("dev2", "post", "/t/meanwhile", "-t", "0", "-e", "1", gateway=PLANT))
    took = time.monotonic() - began
    sent = flood.communicate(timeout=30)[0].strip()
    lab.say(f"{sent} datagrams of garbage and ClientHellos without cookie; dev2 gets in "
            f"in {took:.1f} s")
    check(sent == "5000" and took < 5, f"sent {sent}, dev2 waits {took:.1f} s")


FLOOD = r"""
import os, socket, struct, sys, time
def hello():
    body = b"\xfe\xfd" + os.urandom(32) + b"\0\0\0\2\xc0\x2b\1\0"
    h = b"\1" + struct.pack(">I", len(body))[1:] + b"\0\0\0\0\0" + struct.pack(">I", len(body))[1:]
    return b"\x16\xfe\xfd" + bytes(8) + struct.pack(">H", len(h + body)) + h + body
n, socks = 0, [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(50)]
while n < 5000:
    s = socks[n % 50]
    try:
        s.sendto(os.urandom(100) if n % 2 else hello(), (sys.argv[1], 5684))
    except OSError:
        pass
    n += 1
    if n % 50 == 0:
        time.sleep(0.03)
print(n)
"""


# --- evidence -------------------------------------------------------------------------------------

class Firmware:
    """dev3's firmware as an attacker has it: makes any token."""

    def __init__(self, lab):
        self.lab = lab
        self.key = a.private_key(os.path.join(lab.pki, "dev3-iak.key"))
        self.instance = a.instance_id(self.key.public_key())
        self.components = [self.component(n) for n in ("bootloader", "application")]
        self.last = 0.0
        self.said = ""  # by the client, of the last answer

    def component(self, name):
        c = a.component(f"name={name},version=1.0,file={self.lab.pki}/{name}.bin")
        return {1: c["name"], 2: c["digest"], 4: c["version"], 5: c["signer"]}

    def claims(self, challenge, **more):
        return {10: challenge, 256: self.instance, 2396: a.IMPLEMENTATION_ID, 2394: 1,
                2395: 0x3000, 268: bytes(32), 2399: self.components,
                265: "tag:psacertified.org,2023:psa#tfm", **more}

    def token(self, claims, key=None):
        return a.sign1({1: -7}, claims if isinstance(claims, bytes) else a.canonical(claims),
                       key or self.key)

    def nonce(self, name="dev3"):
        # One a second is what a device gets.
        time.sleep(max(0.0, self.last + 1.1 - time.monotonic()))
        value = fresh_nonce(self.lab, name)
        self.last = time.monotonic()
        return value

    def post(self, token):
        """The code of the answer."""
        return self.exchange(token)[0]

    def exchange(self, token):
        """The code of the answer, and the result that came with it."""
        with tempfile.NamedTemporaryFile() as f:
            f.write(token)
            f.flush()
            said = self.lab.run("dev3", *coap("dev3", "post", "/rats/evidence", "-t", "10003",
                                              "-f", f.name), quiet=True, ok=False)
        self.said = error = said.stderr.strip()
        code = error[:4] if error[:1] in ("4", "5") else "2.04" if said.stdout else error or "none"
        return code, said.stdout


def fresh_nonce(lab, name):
    gateway = PLANT if name == "dev2" else GATEWAY
    with tempfile.NamedTemporaryFile() as f:
        lab.run(name, *coap(name, "get", "/.well-known/est/nonce", "-o", f.name, gateway=gateway),
                quiet=True)
        return cbor2.load(f)["nonce"]


def opened(lab):
    return "open" in lab.run("dev3", PROBE, f"tcp:{INTERNET}:80", quiet=True).stdout.split()


def broken_tokens(f, good):
    """Bytes that are no token."""
    whole = f.token(good)
    twice = a.canonical(good)
    twice = bytes([twice[0] + 1]) + twice[1:] + b"\x0a" + cbor2.dumps(good[10])
    return [
        ("a truncated token", whole[:-1]),
        ("a trailing byte", whole + b"\0"),
        ("a bomb of nine bytes", bytes.fromhex("9b0000000040000000")),
        ("a bomb within the claims", f.token(bytes.fromhex("bb0000000040000000"))),
        ("a byte string longer than memory", bytes.fromhex("d2845b7fffffffffffffff")),
        ("deep nesting", b"\x81" * 4000),
        ("deep nesting within the claims", f.token(b"\xa1\x0a" + b"\x81" * 3000)),
        ("a claim twice", f.token(twice)),
        ("tag 17, a MAC", b"\xd1" + whole[1:]),
        ("no tag", whole[1:]),
        ("an unknown profile", f.token({**good, 265: "tag:example.org,2026:mine"})),
        ("a token of 5000 bytes", f.token({**good, 999: bytes(5000)})),
        ("a lifecycle that is none", f.token({**good, 2395: 0x3100})),
        ("a nonce of 31 bytes", f.token({**good, 10: bytes(31)})),
        ("no components", f.token({**good, 2399: []})),
    ]


def evidence(lab):
    """Evidence that proves nothing: forged, replayed, broken; the genuine one opens"""
    f = Firmware(lab)
    lab.listen("inet", PROBE, "--listen", "tcp:80", "tcp:22")
    check(not opened(lab), "the filter is open before")
    seen = Reasons(lab, DEVICE="dev3")
    fresh = f.nonce()
    good = f.claims(fresh)
    # With another nonce: none of them costs the one that is out.
    for name, token in broken_tokens(f, f.claims(os.urandom(32))):
        code = f.post(token)
        check(code in ("4.00", "4.13"), f"{name} is answered with {code}")
        check(device(lab, "dev3")["posture"] == "unattested", f"{name} changes the posture")
    seen.wait("malformed")
    lab.say(f"{len(broken_tokens(f, good))} broken tokens: 4.00, malformed in the journal")
    spoilt = f.claims(f.nonce())
    check(f.post(f.token(spoilt)[:-1]) == "4.00", "a truncated token is not 4.00")
    check(wait_until(lambda: [e for e in seen.new() if "nonce is used up" in e["MESSAGE"]], 5),
          "the journal does not say that the truncated token cost its nonce")
    check(f.post(f.token(spoilt)) == "4.09", "the nonce of a broken token is good for another")
    lab.say("the nonce of a broken token is used up, the other one is not")

    genuine = f.token(good)
    code, result = f.exchange(genuine)
    check(code == "2.04", "the genuine token is not taken")
    state = device(lab, "dev3")
    check(state["posture"] == "affirming" and opened(lab), "it does not open")
    again = f.exchange(genuine)
    check(again == ("2.04", result), f"the same token, sent again, is answered with {again}")
    check(device(lab, "dev3")["expires_seconds"] <= state["expires_seconds"],
          "a token that is sent again prolongs its verdict")
    check(f.post(f.token(good)) == "4.09", "a nonce is good twice")
    lab.say("the same token again: the same answer; signed again, with the same nonce: 4.09")
    foreign = f.claims(f.nonce("dev2"))
    check(f.post(f.token(foreign)) == "4.09", "dev2's nonce is good for dev3")
    check(f.post(f.token(f.claims(os.urandom(32)))) == "4.09", "a made-up nonce is good")
    seen.wait("not-fresh")
    check(device(lab, "dev3")["posture"] == "affirming", "what was not fresh changes the posture")
    lab.say("replayed, with dev2's nonce, with a made-up one: 4.09; the posture stays")

    stranger = ec.generate_private_key(ec.SECP256R1())
    worse = [
        ("another key", lambda n: f.token(f.claims(n), stranger), "2.04"),
        ("another device's token",
         lambda n: f.token({**f.claims(n), 256: a.instance_id(stranger.public_key())}, stranger),
         "4.03"),
        ("debugging", lambda n: f.token({**f.claims(n), 2395: 0x4000}), "2.04"),
        ("recoverable debugging", lambda n: f.token({**f.claims(n), 2395: 0x5000}), "2.04"),
        ("decommissioned", lambda n: f.token({**f.claims(n), 2395: 0x6000}), "2.04"),
        ("another implementation",
         lambda n: f.token({**f.claims(n), 2396: bytes(32)}), "2.04"),
        ("a component missing",
         lambda n: f.token({**f.claims(n), 2399: f.components[:1]}), "2.04"),
        ("one component twice under two names",
         lambda n: f.token({**f.claims(n), 2399: [f.components[0], {**f.components[0],
                                                                    1: "application"}]}), "2.04"),
    ]
    for name, make, code in worse:
        got = f.post(make(f.nonce()))
        state = device(lab, "dev3")
        lab.say(f"{name}: {got}, {state['posture']}: {state['reason']}")
        check(got == code, f"{name} is answered with {got}, not {code}")
        check(state["posture"] in ("warning", "contraindicated"), f"{name}: {state['posture']}")
        check(not opened(lab), f"{name} keeps it open")
    check(f.post(f.token(f.claims(f.nonce()))) == "2.04", "a genuine token is not taken any more")
    check(device(lab, "dev3")["posture"] == "affirming" and opened(lab), "it does not open again")
    lab.say("and a genuine token opens it again")
    f.post(f.token({**f.claims(f.nonce()), 2395: 0x6000}))
