# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on TLS and DTLS themselves: old versions, weak offers, records that do not belong."""

import json
import os
import struct
import time

import frames as f
from hostile_link import port_of
from hostile_network import MAC, gateway_mac
from lab import check
from peers import PLANT, POST, begin, codes, end, message
from steps import GATEWAY

P256, X25519, SECP192R1, FFDHE2048 = 23, 29, 19, 256
HANDSHAKE, ALERT, DATA, CID = 22, 21, 23, 25

# Sends a ClientHello, over TCP or UDP (there again with the cookie, RFC 6347, 4.2.1), and says
# what came back: each record's type, and of a handshake or an alert what it is.
ASKER = r"""
import json, socket, struct, sys
def records(d, head):
    out = []
    while len(d) >= head:
        size = struct.unpack(">H", d[head - 2:head])[0]
        body, kind = d[head:head + size], d[0]
        out.append([kind, body[1] if kind == 21 and len(body) == 2 else body[0] if body else -1])
        d = d[head + size:]
    return out
def decided(out):
    return any(kind == 21 or (kind == 22 and what == 2) for kind, what in out)
def ask_tcp(to, hello):
    with socket.create_connection(to, timeout=10) as s:
        s.sendall(hello)
        d = b""
        try:
            while not decided(records(d, 5)) and (part := s.recv(65536)): d += part
        except (TimeoutError, ConnectionResetError): pass
        return records(d, 5)
def ask_udp(to, hello, at, wait):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(wait); s.connect(to)
    s.send(hello)
    try: d = s.recv(65536)
    except TimeoutError: return []
    if d[13:14] != b"\x03": return records(d, 13)
    cookie = d[28:28 + d[27]]
    body = hello[25:]
    body = body[:at] + bytes([len(cookie)]) + cookie + body[at + 1:]
    size = struct.pack(">I", len(body))[1:]
    h = b"\x01" + size + b"\0\1\0\0\0" + size + body
    s.send(hello[:3] + bytes(7) + b"\x01" + struct.pack(">H", len(h)) + h)
    out = []
    try:
        while not decided(out): out += records(s.recv(65536), 13)
    except TimeoutError: pass
    return out
for c in json.load(sys.stdin):
    hello, to = bytes.fromhex(c["hello"]), (c["host"], c["port"])
    print(json.dumps(ask_udp(to, hello, c["at"], c["wait"]) if c["at"] else ask_tcp(to, hello)), flush=True)
"""


def extension(kind, data):
    return struct.pack(">HH", kind, len(data)) + data


def words(*numbers):
    return struct.pack(f">H{len(numbers)}H", 2 * len(numbers), *numbers)


def client_hello(version, ciphers, groups=(P256,), compression=b"\0", more=b"", dtls=False):
    body = struct.pack(">H", version) + os.urandom(32) + b"\0" + (b"\0" if dtls else b"")
    body += words(*ciphers) + bytes([len(compression)]) + compression
    extensions = extension(10, words(*groups)) + extension(11, b"\1\0") + \
        extension(13, words(0x0403, 0x0804)) + more
    body += struct.pack(">H", len(extensions)) + extensions
    size = struct.pack(">I", len(body))[1:]
    if dtls:
        h = b"\1" + size + b"\0\0\0\0\0" + size + body
        return struct.pack(">BH", HANDSHAKE, version) + bytes(8) + struct.pack(">H", len(h)) + h
    return struct.pack(">BHH", HANDSHAKE, 0x0301, len(body) + 4) + b"\1" + size + body


TLS13 = extension(43, b"\2\3\4")
GOOD = [0x1301, 0x1302, 0xc02b]
# name, version, cipher suites, and what else is wrong; where nothing is, a ServerHello must come.
TLS = [
    ("TLS 1.3, as it should be", 0x0303, GOOD, {"more": TLS13 + extension(51, b"\0\0")}),
    ("SSL 3", 0x0300, GOOD, {}),
    ("TLS 1.0", 0x0301, GOOD, {}),
    ("TLS 1.1", 0x0302, GOOD, {}),
    ("TLS 1.2", 0x0303, GOOD, {}),
    ("TLS 1.0 by the extension", 0x0303, GOOD, {"more": extension(43, b"\2\3\1")}),
    ("TLS 1.4, which is none", 0x0303, GOOD, {"more": extension(43, b"\2\3\5")}),
    ("a short tag alone", 0x0303, [0x1305], {"more": TLS13 + extension(51, b"\0\0")}),
    ("old suites alone", 0x0303, [0x002f, 0x000a, 0x0005], {"more": TLS13 + extension(51, b"\0\0")}),
    ("no group of ours", 0x0303, GOOD, {"groups": [SECP192R1, 0x6a6a],
                                        "more": TLS13 + extension(51, b"\0\0")}),
    ("compression", 0x0303, GOOD, {"compression": b"\1", "more": TLS13 + extension(51, b"\0\0")}),
    ("supported_versions twice", 0x0303, GOOD, {"more": TLS13 + TLS13 + extension(51, b"\0\0")}),
    ("a key share that is no point", 0x0303, GOOD, {
        "more": TLS13 + extension(51, struct.pack(">HHH", 69, P256, 65) + b"\4" + bytes(64))}),
]
DTLS = [
    ("DTLS 1.2, as it should be", 0xfefd, [0xc02b], {}),
    ("DTLS 1.0", 0xfeff, [0xc009, 0xc00a, 0x002f], {}),
    ("DTLS of another version, not answered", 0x0100, [0xc02b], {}),
    ("no encryption", 0xfefd, [0xc006, 0x0002, 0x0001], {}),
    ("no authentication", 0xfefd, [0xc018, 0xc017, 0x0034], {}),
    ("a shared key", 0xfefd, [0xc0a8, 0x00a8, 0xc037], {}),
    ("RC4 and 3DES", 0xfefd, [0xc007, 0xc008, 0x000a, 0x0005], {}),
    ("CBC", 0xfefd, [0xc009, 0xc023, 0x002f, 0x003c], {}),
    ("a short tag alone", 0xfefd, [0xc0ae], {}),
    ("RSA key exchange", 0xfefd, [0x009c, 0x009d], {}),
    ("no curve of ours", 0xfefd, [0xc02b], {"groups": [SECP192R1, FFDHE2048]}),
    ("compression alone", 0xfefd, [0xc02b], {"compression": b"\1"}),
]


def cases():
    for kinds, port, dtls in ((TLS, 8883, False), (DTLS, 5684, True)):
        for name, version, ciphers, more in kinds:
            hello = client_hello(version, ciphers, dtls=dtls, **more)
            yield name, {"host": GATEWAY, "port": port, "at": 35 if dtls else 0,
                         "wait": 1 if "not answered" in name else 10, "hello": hello.hex()}


def offers(lab):
    """Old versions, weak ciphers, no encryption, broken key shares: no handshake begins"""
    asked = list(cases())
    p = lab.run("dev3", "/usr/bin/python3", "-c", ASKER, quiet=True, timeout=90,
                input=json.dumps([c for _, c in asked]))
    answers = [json.loads(line) for line in p.stdout.splitlines()]
    check(len(answers) == len(asked), f"the daemon does not answer: {p.stderr[-300:]}")
    wrong = []
    for (name, _), got in zip(asked, answers):
        began = any(kind == HANDSHAKE and what == 2 for kind, what in got)
        if began != ("as it should be" in name):
            wrong.append(f"{name}: {got}")
    lab.say("; ".join(f"{name}: {[what for kind, what in got if kind == ALERT] or 'nothing'}"
                      for (name, _), got in zip(asked, answers) if "should" not in name))
    check(not wrong, "; ".join(wrong))


# --- records that do not belong --------------------------------------------------------------------

def record(kind, data, epoch=0, number=0, version=0xfefd, size=None):
    return struct.pack(">BHHHIH", kind, version, epoch, number >> 32, number & 0xffffffff,
                       len(data) if size is None else size) + data


def piece(hello, at, length, whole=None, number=0, kind=1):
    """A fragment of a handshake message (RFC 6347, 4.2.3)."""
    whole = len(hello) if whole is None else whole
    head = bytes([kind]) + struct.pack(">I", whole)[1:] + struct.pack(">H", number)
    return record(HANDSHAKE, head + struct.pack(">I", at)[1:] + struct.pack(">I", length)[1:] +
                  hello[at:at + length], number=at)


def strays():
    """Records for nobody's session, one datagram each."""
    whole = client_hello(0xfefd, [0xc02b], dtls=True)[25:]
    yield from (b"", b"\x16", b"\x16\xfe\xfd" + bytes(9), b"\xff" * 1400, bytes(1400))
    for kind in (ALERT, DATA, CID, 20, 24, 26, 0, 0x20, 0x2f, 0x3f, 255):
        for epoch in (0, 1, 2, 65535):
            yield record(kind, os.urandom(40), epoch, (1 << 48) - 1)
    yield record(HANDSHAKE, whole, size=65535)
    yield record(ALERT, b"\2\0") + record(ALERT, b"\1\0", 1) * 20
    # With a connection id (RFC 9146): asked for, and used without having been agreed on.
    yield client_hello(0xfefd, [0xc02b], more=extension(54, b"\x14" + os.urandom(20)), dtls=True)
    yield client_hello(0xfefd, [0xc02b], more=extension(54, b"\0" + os.urandom(20)), dtls=True)
    # A hello in pieces: each alone, backwards, overlapping, one that claims 16 MB, one without end.
    for step in (1, 7, 40):
        yield from (piece(whole, at, step) for at in range(0, len(whole), step))
    yield from (piece(whole, at, 40) for at in range(len(whole) - 40, -1, -13))
    yield from (piece(whole, at, 20, whole=0xffffff) for at in range(0, 100, 20))
    yield from (piece(whole, 0, 0, number=n) for n in range(50))
    yield from (piece(whole, 0, 10, number=n, kind=k) for n in (1, 9, 65535) for k in (2, 11, 14, 16, 20))


STRAY = r"""
import socket, sys, time
socks = {}
n = heard = 0
for line in sys.stdin:
    s = socks.setdefault(n % 16, socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    s.setblocking(False)
    s.sendto(bytes.fromhex(line), (sys.argv[1], 5684)); n += 1
    try:
        while True: heard += len(s.recv(65536))
    except BlockingIOError: pass
    time.sleep(0.01)
print(n, heard)
"""


def intruders():
    """What an outsider can send into dev2's session: its addresses, its port, not its keys."""
    hello = client_hello(0xfefd, [0xc02b], dtls=True)[13:]
    made = [record(ALERT, b"\1\0"), record(ALERT, b"\2\x28"), record(ALERT, b"\1\0", number=1 << 40),
            record(20, b"\1"), record(DATA, b"hello"), record(HANDSHAKE, hello),
            record(HANDSHAKE, hello, number=(1 << 48) - 1), record(HANDSHAKE, b"\0" * 12)]
    for epoch in (1, 2, 65535):
        for kind in (ALERT, DATA, HANDSHAKE, CID, 20, 24):
            made.append(record(kind, os.urandom(48), epoch, 3))
            made.append(record(kind, os.urandom(48), epoch, (1 << 48) - 1))
            made.append(record(kind, b"", epoch, 5))
    made += [b"\x2f" + os.urandom(60), record(DATA, os.urandom(30), 1, 7, size=16400)]
    return made


def taken(lab):
    """UDP datagrams that the gateway's programs have read."""
    lines = [line.split()[1:] for line in lab.run("gw", "cat", "/proc/net/snmp", quiet=True)
             .stdout.splitlines() if line.startswith("Udp:")]
    return int(dict(zip(*lines))["InDatagrams"])


def foreign_records(lab):
    """DTLS records that do not belong: epochs, connection ids, fragments, into a live session"""
    sent = list(strays())
    said = lab.run("dev3", "/usr/bin/python3", "-c", STRAY, GATEWAY, quiet=True,
                   input="".join(d.hex() + "\n" for d in sent)).stdout.split()
    lab.say(f"{said[0]} datagrams, {sum(map(len, sent))} bytes; answered with {said[1]} bytes")
    check(int(said[1]) <= sum(map(len, sent)), "the gateway sends more than it got: an amplifier")
    value = f"open {os.getpid()} {time.monotonic_ns()}".encode()
    p = begin(lab, "dev2", {"to": f"{PLANT}:5684", "cert": "dev2", "dtls": True, "pause": 3,
                            "send": [message(POST, ["t", "x"], value, number=i).hex()
                                     for i in (1, 2, 3)]})
    lab.wait_arrived(lambda t, data: data == value, "dev2's first message")
    port, to = port_of(lab, "dev2", "u", PLANT), gateway_mac(lab, "vl20")
    here, before = "10.20.0.12", taken(lab)
    n = f.send(lab, "dev2", [f.ethernet(to, MAC["dev2"], 0x0800, f.udp(here, PLANT, port, 5684, d))
                             for d in intruders()])
    answers = codes(end(p)["heard"])
    lab.say(f"{n} records of an outsider within dev2's session; its requests: {answers}")
    check(taken(lab) - before >= n, "they do not get there: nothing can be concluded")
    check(answers == {1: "2.04", 2: "2.04", 3: "2.04"}, f"the session ends: {answers}")
