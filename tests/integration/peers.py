# SPDX-License-Identifier: GPL-3.0-or-later
"""What the hostile suite's peers say: MQTT packets and CoAP messages byte by byte, sent by
tests/tools/raw-peer from a device; and the proof that an attack did no harm."""

import json
import os
import struct

from lab import TOOLS, check, wait_until
from steps import GATEWAY, INTERNET, PROBE, UPSTREAM, coap, mqtt

RAW = os.path.join(TOOLS, "raw-peer")
PLANT = "10.20.0.1"
SANITIZER = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:")


def raw(lab, node, *cases, timeout=90):
    """Runs raw-peer's cases on a node, one after the other."""
    out = lab.run(node, RAW, input=json.dumps(cases), quiet=True, timeout=timeout).stdout
    answers = [json.loads(line) for line in out.splitlines()]
    check(len(answers) == len(cases), "raw-peer says less than it was asked")
    return answers


def begin(lab, node, case):
    """Starts one case that goes on beside the others."""
    return lab.start(node, "bash", "-c", 'printf %s "$2" | "$1"', "-", RAW, json.dumps([case]),
                     quiet=True)


def end(process):
    return json.loads(process.communicate(timeout=60)[0].splitlines()[0])


# --- MQTT -----------------------------------------------------------------------------------------

def varint(n):
    out = bytearray()
    while True:
        out.append(n % 128 | (0x80 if n > 127 else 0))
        n //= 128
        if n == 0:
            return bytes(out)


def packet(first, body=b""):
    return bytes([first]) + varint(len(body)) + body


def text(s):
    data = s if isinstance(s, bytes) else s.encode()
    return struct.pack(">H", len(data)) + data


def connect(client="dev1", version=5, flags=2, keep_alive=60, properties=b"", more=b"", name="MQTT"):
    body = text(name) + struct.pack(">BBH", version, flags, keep_alive)
    if version == 5:
        body += varint(len(properties)) + properties
    return packet(0x10, body + text(client) + more)


def publish(topic, payload=b"x", qos=1, number=1, properties=b"", first=None):
    body = text(topic) + (struct.pack(">H", number) if qos else b"")
    body += varint(len(properties)) + properties + payload
    return packet(0x30 | qos << 1 if first is None else first, body)


def subscribe(*filters, number=1, options=1, first=0x82):
    body = struct.pack(">H", number) + b"\0"
    return packet(first, body + b"".join(text(f) + bytes([options]) for f in filters))


def packets(heard):
    """(first byte, body) of each MQTT packet in what was heard."""
    data, found = bytes.fromhex(heard), []
    while len(data) >= 2:
        size, shift, i = 0, 0, 1
        while True:
            size |= (data[i] & 127) << shift
            shift, i = shift + 7, i + 1
            if data[i - 1] < 128:
                break
        found.append((data[0], data[i:i + size]))
        data = data[i + size:]
    return found


NAMES = {0x20: "CONNACK", 0x40: "PUBACK", 0x90: "SUBACK", 0xd0: "PINGRESP", 0xe0: "DISCONNECT"}


def told(heard):
    """The answers as words: CONNACK 0x87, PUBACK 0x00, SUBACK 0x87, DISCONNECT 0x82."""
    words = []
    for first, body in packets(heard):
        name = NAMES.get(first & 0xf0, f"{first:#x}")
        if name == "CONNACK":
            code = body[1]
        elif name == "PUBACK":
            code = body[2] if len(body) > 2 else 0
        elif name == "SUBACK":
            code = body[-1]
        elif name == "DISCONNECT":
            code = body[0] if body else 0
        else:
            code = 0
        words.append(f"{name} {code:#04x}")
    return words


# --- CoAP -----------------------------------------------------------------------------------------

CON, NON = 0, 1
GET, POST, PUT, DELETE = 1, 2, 3, 4
URI_PATH, CONTENT_FORMAT, BLOCK1 = 11, 12, 27


def option(delta, value):
    def nibble(n):
        if n < 13:
            return n, b""
        return (13, bytes([n - 13])) if n < 269 else (14, struct.pack(">H", n - 269))
    d, d_more = nibble(delta)
    size, size_more = nibble(len(value))
    return bytes([d << 4 | size]) + d_more + size_more + value


def message(method, path, payload=b"", number=1, kind=CON, content_format=None, block1=None):
    """A CoAP message; the token is the message's number."""
    out = struct.pack(">BBHH", 0x42 | kind << 4, method, number, number)
    options = [(URI_PATH, p if isinstance(p, bytes) else p.encode()) for p in path]
    if content_format is not None:
        options.append((CONTENT_FORMAT, content_format.to_bytes(2, "big").lstrip(b"\0")))
    if block1 is not None:
        options.append((BLOCK1, block1.to_bytes(3, "big").lstrip(b"\0")))
    last = 0
    for n, value in options:
        out += option(n - last, value)
        last = n
    return out + (b"\xff" + payload if payload else b"")


def codes(heard):
    """Response code by message number, of datagrams as s_client prints them (they may come in
    one piece, so each is looked for by its token)."""
    data, found = bytes.fromhex("".join(heard)), {}
    for i in range(len(data) - 5):
        if data[i] & 0xcf == 0x42 and data[i + 1] >> 5 in (2, 4, 5) and data[i + 4] == 0:
            found.setdefault(data[i + 5], f"{data[i + 1] >> 5}.{data[i + 1] & 31:02}")
    return found


# --- no harm ---------------------------------------------------------------------------------------

class Daemon:
    """The daemon as it was, and what has to be true of it after every attack."""

    def __init__(self, lab):
        self.lab, self.count, self.logged = lab, 0, 0
        self.process = self.identify()

    def identify(self):
        """Process id and when it started: another daemon with the same id is another daemon."""
        said = self.lab.run("gw", "bash", "-c",
                            "p=$(cat /run/daemon.pid); cut -d' ' -f1,2,22 /proc/$p/stat",
                            quiet=True).stdout.strip()
        check("sallyportd" in said, f"no sallyportd runs: {said}")
        return said

    def restarted(self):
        self.process = self.identify()

    def alive(self):
        check(self.identify() == self.process, "the daemon is another process than before")

    def serves(self):
        self.count += 1
        value = f"alive {os.getpid()} {self.count}"
        self.lab.run("dev1", *mqtt("mosquitto_pub", "dev1", "-q", "1", "-t", "alive", "-m", value),
                     quiet=True)
        self.lab.run("dev2", *coap("dev2", "post", "/t/alive", "-t", "0", "-e", value,
                                   gateway=PLANT), quiet=True)
        for name in ("dev1", "dev2"):
            self.lab.wait_arrived(
                lambda t, p, n=name: t == f"{UPSTREAM}/{n}/alive" and p == value.encode(),
                f"{name}'s message after the attack")

    def silent(self):
        out = self.lab.run("gw", "journalctl", "-q", "--no-pager", "-o", "cat", quiet=True).stdout
        with open(os.path.join(self.lab.dir, "log/daemon.log"), errors="replace") as f:
            out += f.read()
        lines = [line for line in out.splitlines() if any(s in line for s in SANITIZER)]
        check(not lines, f"a sanitizer reports: {lines[:2]}")

    def closed(self, nodes=("dev1", "dev2", "dev3")):
        other = {"dev1": "10.10.0.13", "dev2": "10.10.0.11", "dev3": "10.20.0.12"}
        for node in nodes:
            lines = self.lab.run(node, PROBE, f"tcp:{INTERNET}:80", f"tcp:{INTERNET}:22",
                                 f"tcp:{other[node]}:22", quiet=True).stdout.splitlines()
            opened = [line for line in lines if line.endswith(" open")]
            check(not opened, f"{node} reaches {opened}")

    def unharmed(self, closed=("dev1", "dev2", "dev3")):
        self.alive()
        self.serves()
        self.silent()
        self.closed(closed)
        self.lab.say("the same daemon serves dev1 and dev2, no sanitizer report, the filter is shut")


class Reasons:
    """The journal's entries with certain fields since this was made."""

    def __init__(self, lab, **fields):
        self.lab, self.fields = lab, fields
        self.before = len(lab.journal(**fields))

    def new(self):
        return self.lab.journal(**self.fields)[self.before:]

    def wait(self, reason, timeout=5, **more):
        def found():
            return [e for e in self.new() if e.get("REASON") == reason and
                    all(str(e.get(k, "")).startswith(v) for k, v in more.items())]
        entries = wait_until(found, timeout)
        check(entries, f"the journal has no new entry with REASON={reason} {self.fields} {more}: "
              f"{[(e.get('REASON'), e.get('PEER')) for e in self.new()][-5:]}")
        return entries


def gateway_tls(case, gateway=GATEWAY):
    return {"to": f"{gateway}:8883", "cert": "dev1", **case}
