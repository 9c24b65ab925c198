# SPDX-License-Identifier: GPL-3.0-or-later
"""One connection of a case, over mutual TLS to the gateway's port.

Whatever the case is about, each packet that comes is also held against what the connection agreed
on: the client's maximum packet size, receive maximum, topic aliases, request for problem
information; one CONNACK, first; after DISCONNECT nothing."""

import ctypes
import os
import socket
import ssl
import time

import wire
from patterns import words

GATEWAY = ("10.10.0.1", 8883)
# Another server, HOST:PORT as this process reaches it: to see whether a case that fails is right.
PEER = os.environ.get("CONFORMANCE_PEER")
NODE = "dev1"   # in whose network all of them are
PATIENCE = 8.0  # for what has to come
CLONE_NEWNET = 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def socket_on(lab, node):
    """A socket in a node's network: it stays there, while this process comes back."""
    ours = os.open("/proc/self/ns/net", os.O_RDONLY)
    theirs = os.open(f"/run/netns/sallyport-{lab.name}-{node}", os.O_RDONLY)
    try:
        if libc.setns(theirs, CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {node}'s network")
        return socket.socket()
    finally:
        libc.setns(ours, CLONE_NEWNET)
        os.close(ours)
        os.close(theirs)


class Connection:
    def __init__(self, run, name, client_id, version):
        self.run, self.name, self.client_id, self.version = run, name, client_id, version
        self.device, self.mark = run.device.name, run.mark
        self.buffer, self.ended, self.heard = b"", None, []
        self.limits, self.aliases, self.in_flight, self.incoming = {}, {}, {}, set()
        s = socket.socket() if PEER else socket_on(run.lab, NODE)
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.settimeout(PATIENCE * 2)
        s.connect((PEER.rsplit(":", 1)[0], int(PEER.rsplit(":", 1)[1])) if PEER else GATEWAY)
        self.socket = run.device.tls.wrap_socket(s)

    def retained(self, topic):
        self.run.to_clear.add(topic)

    def outlives(self, client_id):
        self.run.to_end.add(client_id)

    def agreed(self, props):
        self.limits = dict(props)

    def say(self, way, text):
        self.run.transcript.append(f"{self.name} {way} {text}")

    def send(self, data):
        self.say("->", data.hex() if len(data) < 200 else f"{data[:60].hex()}... ({len(data)})")
        self.note(data)
        self.sent_at = time.monotonic()
        try:
            self.socket.settimeout(PATIENCE * 2)
            self.socket.sendall(data)
        except OSError as e:  # closed already: what was heard tells why
            self.say("->", f"not sent: {type(e).__name__}")

    def note(self, data):
        """What the client acknowledges is no longer on its way."""
        kind, at = data[0] >> 4 if data else 0, 2
        if len(data) < 4 or kind not in (4, 5, 7):
            return
        number = int.from_bytes(data[at:at + 2], "big")
        if kind == 5:
            self.incoming.add(number)
            if not (len(data) > 4 and data[4] >= 0x80):
                return
        self.in_flight.pop(number, None)

    def fill(self, deadline):
        """More bytes, or not in time."""
        left = deadline - time.monotonic()
        if left <= 0 or self.ended:
            return False
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(65536)
        except (TimeoutError, ssl.SSLWantReadError):
            return False
        except OSError as e:
            data, self.ended = b"", type(e).__name__
        if not data:
            self.ended = self.ended or "closed"
            self.say("<-", self.ended)
            return False
        self.buffer += data
        return True

    def packet(self, within):
        """The next packet, or None where none comes in time or the connection has ended."""
        deadline = time.monotonic() + within
        while True:
            data, self.buffer = wire.split(self.buffer)
            if data is not None:
                break
            if not self.fill(deadline):
                if self.ended and self.buffer:
                    raise wire.Violation(f"the end within a packet: {self.buffer.hex()}")
                return None
        p = wire.decode(data, self.version)
        self.say("<-", f"{words(p)}  [{data.hex() if len(data) < 100 else len(data)}]")
        if not wire.canonical(data, p, self.version):
            raise wire.Violation(f"these bytes are not its one right form: {data.hex()}")
        self.hold(p, len(data))
        self.heard.append(p)
        return p

    def hold(self, p, size):
        """What is true of each packet, whatever the case is about."""
        def rule(condition, text):
            if not condition:
                raise wire.Violation(f"{text}: {words(p)}")
        limits, kind = self.limits, p["type"]
        rule(size <= limits.get("maximum_packet_size", 1 << 28),
             f"[MQTT-3.1.2-24]: {size} bytes are more than the client takes")
        rule((kind == "CONNACK") == (not self.heard), "one CONNACK, and that first")
        rule(not self.heard or self.heard[-1]["type"] != "DISCONNECT", "a packet after DISCONNECT")
        if limits.get("request_problem", 1) == 0 and kind not in ("PUBLISH", "CONNACK",
                                                                  "DISCONNECT"):
            rule(not {"reason_string", "user_property"} & set(p["properties"]),
                 "[MQTT-3.1.2-29]: not asked for")
        if not limits.get("request_response"):
            rule("response_information" not in p.get("properties", {}),
                 "[MQTT-3.1.2-28]: not asked for")
        if kind == "PUBLISH":
            self.hold_publish(p, rule)
        elif kind == "PUBREL":
            self.incoming.discard(p["id"])

    def hold_publish(self, p, rule):
        alias = p["properties"].pop("topic_alias", None)
        if alias is not None:
            rule(0 < alias <= self.limits.get("topic_alias_maximum", 0),
                 f"[MQTT-3.1.2-26]: topic alias {alias}")
            if p["topic"]:
                self.aliases[alias] = p["topic"]
            rule(alias in self.aliases, f"topic alias {alias} was never given")
            p["topic"] = self.aliases[alias]
            self.run.aliased = True
        rule(p["topic"] and "+" not in p["topic"] and "#" not in p["topic"], "a wildcard topic")
        if p["qos"]:
            rule(p["id"] not in self.in_flight or p["dup"],
                 "[MQTT-2.2.1-4]: this packet id is in use")
            self.in_flight[p["id"]] = p
            rule(len(self.in_flight) <= self.limits.get("receive_maximum", 65535),
                 "[MQTT-3.3.4-9]: more than the receive maximum are on their way")

    def close(self):
        self.socket.close()
        self.ended = self.ended or "left"
