# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks on the link: a device that says it is another, or the router, and one that speaks about
others' connections."""

import json
import os
import struct
import time

import frames as f
from hostile_mqtt import OK, PING
from hostile_network import HOSTS4, HOSTS6, MAC, gateway_mac
from lab import check, wait_until
from peers import POST, begin, codes, connect, end, gateway_tls, message, publish, told
from steps import GATEWAY

GATEWAY6 = "fd00:10::1"


# --- who has which hardware address -----------------------------------------------------------------

def neighbours(lab):
    """Hardware address by address; each where the way to it leads."""
    said = lab.run("gw", "ip", "-j", "neigh", quiet=True).stdout
    return {n["dst"]: n.get("lladdr") for n in json.loads(said)
            if (n["dev"] == "vl20") == n["dst"].startswith(("10.20.", "fd00:20:"))}


def claims(address, to):
    """Every way for dev1 to say that an IPv4 address is at its own hardware address."""
    mine = MAC["dev1"]
    for receiver in (to, f.BROADCAST):
        yield f.ethernet(receiver, mine, 0x0806, f.arp(2, mine, address, to, GATEWAY))
        yield f.ethernet(receiver, mine, 0x0806, f.arp(1, mine, address, "00:00:00:00:00:00", GATEWAY))
        yield f.ethernet(receiver, mine, 0x0806, f.arp(2, mine, address, f.BROADCAST, address))


def claims6(address, to):
    """The same for IPv6: advertisements (136), and questions that tell who asks (135, 133)."""
    mine, target = MAC["dev1"], f.ip(address)
    for src in (address, HOSTS6["dev1"]):
        for dst in (GATEWAY6, "ff02::1"):
            for flags in (0x60, 0x20, 0xe0, 0):
                body = bytes([flags, 0, 0, 0]) + target
                for options in (f.lladdr(2, mine), b""):
                    yield f.ethernet(to, mine, 0x86dd, f.icmp(src, dst, 136, 0, body + options))
        ask = bytes(4) + f.ip(GATEWAY6) + f.lladdr(1, mine)
        yield f.ethernet(to, mine, 0x86dd, f.icmp(src, GATEWAY6, 135, 0, ask))
        yield f.ethernet(to, mine, 0x86dd,
                         f.icmp(src, "ff02::2", 133, 0, bytes(4) + f.lladdr(1, mine)))


ELSEWHERE = """
table inet story
delete table inet story
table inet story {
        counter seen { }
        chain prerouting {
                type filter hook prerouting priority -300;
                ip daddr { 10.10.0.13, 10.20.0.12 } counter name seen
                ip6 daddr { fd00:10::13, fd00:20::12 } counter name seen
        }
}
"""


def places(lab):
    """Forged ARP and neighbour discovery: nobody takes another device's place"""
    to = gateway_mac(lab, "vl10")
    free, free6 = "10.10.0.99", "fd00:10::99"
    nobody = [*claims(free, to), *claims6(free6, to)]
    taken = [x for d in ("dev3", "dev2") for x in (*claims(HOSTS4[d], to), *claims6(HOSTS6[d], to))]
    lab.run("dev1", "nft", "-f", "-", input=ELSEWHERE, quiet=True)
    try:
        f.send(lab, "dev1", nobody)
        known = wait_until(lambda: (lambda n: n if {free, free6} <= set(n) else None)(
            neighbours(lab)), 3)
        check(known and known[free] == known[free6] == MAC["dev1"],
              f"not even an address of nobody is taken: the frames are wrong: {neighbours(lab)}")
        sent = f.send(lab, "dev1", taken)
        for name in ("dev2", "dev3"):
            for address in (HOSTS4[name], HOSTS6[name]):
                p = lab.run("gw", "ping", "-n", "-c", "1", "-W", "3", address, quiet=True, ok=False)
                check(p.returncode == 0, f"the gateway does not reach {name} at {address}")
        seen = lab.counter("dev1", "seen")
        now = neighbours(lab)
        lab.say(f"{sent} frames by which dev1 claims the addresses of dev2 and dev3; what the "
                f"gateway sent to them and dev1 got: {seen}")
        wrong = {a: now.get(a) for d in ("dev2", "dev3") for a in (HOSTS4[d], HOSTS6[d])
                 if now.get(a) != MAC[d]}
        check(not wrong and seen == 0, f"the gateway believes {wrong}; dev1 got {seen} packets")
    finally:
        lab.run("dev1", "nft", "delete", "table", "inet", "story", quiet=True)
        lab.run("gw", "ip", "neigh", "flush", "to", free, quiet=True, ok=False)
        lab.run("gw", "ip", "-6", "neigh", "flush", "to", free6, quiet=True, ok=False)


# --- a router, a DHCP server, a name service ---------------------------------------------------------

# What a device may say to nobody, by where it arrives. The gateway's behind its own filter.
COUNT_NOISE = """
table inet story
delete table inet story
table inet story {
        counter seen { }
        chain input {
                type filter hook input priority 300;
                iifname "wan0" return
                udp dport { 67, 68, 546, 547, 1900, 3702, 5353, 5355, 5683, 27200 } counter name seen
                udp dport 5684 fib daddr type != local counter name seen
                icmpv6 type { 128, 134, 137, 138 } ip6 hoplimit 255 counter name seen
                icmp type { echo-request, redirect, router-advertisement } counter name seen
        }
}
"""
GROUPS = [("224.0.0.251", 5353), ("224.0.0.252", 5355), ("239.255.255.250", 1900),
          ("239.255.255.250", 3702), ("224.0.1.187", 5683), ("224.0.0.1", 27200),
          ("224.0.0.1", 5684), ("10.10.0.255", 5684), ("ff02::1", 5684), ("ff02::2", 5684),
          ("255.255.255.255", 27200), ("10.10.0.255", 27200), ("10.20.0.255", 27200),
          ("ff02::fb", 5353), ("ff02::1:3", 5355), ("ff02::c", 1900), ("ff02::fd", 5683),
          ("ff02::1", 27200), ("ff05::1", 27200), ("ff0e::1", 27200), ("ff01::1", 27200)]


def announcements(to):
    """dev1 plays router, DHCP server, name service, and calls to everybody."""
    mine, here, here6 = MAC["dev1"], HOSTS4["dev1"], HOSTS6["dev1"]
    prefix = bytes([3, 4, 64, 0xc0]) + struct.pack(">III", 9000, 9000, 0) + f.ip("fd66::")
    resolver = struct.pack(">BBHI", 25, 3, 0, 9000) + f.ip(here6)
    advert = struct.pack(">BBHII", 64, 0, 9000, 0, 0) + f.lladdr(1, mine) + prefix + resolver
    for src in ("fe80::1234", here6):
        for dst in ("ff02::1", GATEWAY6):
            yield f.ethernet(f.MULTICAST, mine, 0x86dd, f.icmp(src, dst, 134, 0, advert))
    away, away6 = "203.0.113.10", "2001:db8:ffff::10"
    told_of = f.packet(GATEWAY, away, f.UDP, struct.pack(">HHHH", 5684, 9, 8, 0))
    told_of6 = f.packet(GATEWAY6, away6, f.UDP, struct.pack(">HHHH", 5684, 9, 8, 0))
    for code in (0, 1):
        yield f.ethernet(to, mine, 0x0800, f.icmp(here, GATEWAY, 5, code, f.ip(here) + told_of))
    for src in ("fe80::1234", here6):
        yield f.ethernet(to, mine, 0x86dd, f.icmp(
            src, GATEWAY6, 137, 0, bytes(4) + f.ip(here6) + f.ip(away6) + f.lladdr(2, mine) + told_of6))
    yield f.ethernet(to, mine, 0x0800, f.icmp(here, "224.0.0.1", 9, 0, bytes([1, 2, 0x23, 0x28]) +
                                              f.ip(here) + bytes(4)))
    offer = struct.pack(">BBBBI", 2, 1, 6, 0, 1) + bytes(8) + f.ip("10.10.0.200") + f.ip(here) + \
        bytes(4) + mac_padded(to) + bytes(192) + b"\x63\x82\x53\x63\x35\x01\x02\xff"
    yield f.ethernet(f.BROADCAST, mine, 0x0800, f.udp(here, "255.255.255.255", 67, 68, offer))
    yield f.ethernet(to, mine, 0x0800, f.udp(here, GATEWAY, 67, 68, offer))
    yield f.ethernet(f.BROADCAST, mine, 0x0800, f.udp(here, "255.255.255.255", 68, 67, offer))
    yield f.ethernet(f.MULTICAST, mine, 0x86dd, f.udp(here6, "ff02::1:2", 546, 547, offer))
    for group, port in GROUPS:
        src = here6 if ":" in group else here
        kind = 0x86dd if ":" in group else 0x0800
        for receiver in (to, f.MULTICAST if ":" in group else f.BROADCAST):
            yield f.ethernet(receiver, mine, kind, f.udp(src, group, port, port, b"anybody?"))
            yield f.ethernet(receiver, mine, kind, f.icmp(
                src, group, 128 if ":" in group else 8, 0, b"\0\1\0\1"))


def mac_padded(text):
    return f.mac(text) + bytes(10)


def way(lab):
    """How the gateway's packets go: what a device must not change."""
    return [lab.run("gw", "ip", *words, quiet=True).stdout
            for words in (["route"], ["-6", "route"], ["route", "show", "cache"],
                          ["-6", "route", "show", "cache"], ["-br", "addr"])]


def routers(lab):
    """A device that plays router, DHCP server and name service, and calls to all nodes"""
    nodes = ("gw", "dev2", "dev3", "up", "inet")
    for node in nodes:
        lab.run(node, "nft", "-f", "-", input=COUNT_NOISE, quiet=True)
    before = way(lab)
    try:
        # The control: what the gateway says itself arrives and is counted.
        lab.run("gw", "bash", "-c", "for h in 10.10.0.13 10.20.0.12; do echo x >/dev/udp/$h/27200; "
                "done", quiet=True)
        check(wait_until(lambda: lab.counter("dev2", "seen") and lab.counter("dev3", "seen"), 3),
              "the counters do not count")
        for node in nodes:
            lab.run(node, "nft", "reset", "counters", "table", "inet", "story", quiet=True)
        sent = f.send(lab, "dev1", announcements(gateway_mac(lab, "vl10")))
        time.sleep(0.3)
        seen = {n: c for n in nodes if (c := lab.counter(n, "seen"))}
        lab.say(f"{sent} frames; taken by the gateway or another device: {seen or 'none'}")
        check(not seen, f"they arrive: {seen}")
        check(way(lab) == before, f"the gateway's ways changed: {way(lab)}, not {before}")
    finally:
        for node in nodes:
            lab.run(node, "nft", "delete", "table", "inet", "story", quiet=True)


# --- others' connections ----------------------------------------------------------------------------

# The last TCP segment each way between here and a gateway's port; says it when asked.
SNIFFER = r"""
import json, select, socket, struct, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)); s.bind(("eth0", 0))
last = {}
print("ready", flush=True)
while True:
    ready, _, _ = select.select([s, sys.stdin], [], [])
    if s in ready:
        d = s.recv(2048)
        if d[12:14] == b"\x08\x00" and d[23] == 6:
            size = 4 * (d[14] & 15)
            t = d[14 + size:14 + struct.unpack(">H", d[16:18])[0]]
            sport, dport, seq, ack = struct.unpack(">HHII", t[:12])
            if 8883 in (sport, dport):
                last["gateway" if sport == 8883 else "device"] = {
                    "port": dport if sport == 8883 else sport, "ack": ack,
                    "next": seq + len(t) - 4 * (t[12] >> 4) & 0xffffffff}
    else:
        sys.stdin.readline()
        print(json.dumps(last), flush=True)
"""

# What gets past the gateway's filter from the devices.
COUNT_FORGED = """
table inet story
delete table inet story
table inet story {
        counter seen { }
        chain input {
                type filter hook input priority 300;
                iifname "wan0" return
                tcp flags & rst == rst counter name seen
                icmp type { destination-unreachable, source-quench, time-exceeded, parameter-problem } counter name seen
                icmpv6 type { 1, 2, 3, 4 } counter name seen
        }
        chain forward {
                type filter hook forward priority 300;
                tcp flags & rst == rst counter name seen
                meta l4proto { icmp, ipv6-icmp } counter name seen
        }
}
"""


def resets(to, src, dst, sport, dport, numbers):
    """RST by which dev1 speaks for src, with every number that could be right."""
    for hardware in (MAC["dev1"], "02:00:00:00:00:66"):
        for n in numbers:
            for flags in (f.RST, f.RST | f.ACK, f.SYN):
                yield f.ethernet(to, hardware, 0x0800, f.tcp(src, dst, sport, dport, n, n, flags))


def errors(to, src, dst, protocol, sport, dport, number):
    """ICMP errors to src about what it sent to dst; from dev1, and in dst's name."""
    six = ":" in src
    inner = f.packet(src, dst, protocol, struct.pack(">HHII", sport, dport, number, 0) + bytes(8))
    kinds = [(2, 0, 1280), (1, 0, 0), (1, 4, 0), (3, 0, 0), (4, 1, 0)] if six else \
        [(3, 4, 68), (3, 4, 552), (3, 0, 0), (3, 1, 0), (3, 2, 0), (3, 3, 0), (3, 13, 0), (4, 0, 0),
         (11, 0, 0), (12, 0, 0)]
    for sender in ((HOSTS6 if six else HOSTS4)["dev1"], dst):
        for kind, code, rest in kinds:
            yield f.ethernet(to, MAC["dev1"], 0x86dd if six else 0x0800,
                             f.icmp(sender, src, kind, code, struct.pack(">I", rest) + inner))


def forgeries(to, device, uplink, other):
    """Against dev3's MQTT, the gateway's uplink and dev2's CoAP session."""
    dev3, here, broker = HOSTS4["dev3"], "203.0.113.2", "203.0.113.10"
    numbers = {device["device"]["next"], device["gateway"]["ack"]}
    back = {device["gateway"]["next"], device["device"]["ack"]}
    port = device["device"]["port"]
    yield from resets(to, dev3, GATEWAY, port, 8883, numbers)
    yield from resets(to, GATEWAY, dev3, 8883, port, back)
    yield from resets(to, broker, here, 8883, uplink, [0, 1 << 31])
    yield from resets(to, here, broker, uplink, 8883, [0, 1 << 31])
    for number in back:
        yield from errors(to, GATEWAY, dev3, f.TCP, 8883, port, number)
    yield from errors(to, here, broker, f.TCP, uplink, 8883, 1)
    yield from errors(to, "fd00:20::1", HOSTS6["dev2"], f.UDP, 5684, other, 8 << 16)


def port_of(lab, node, kind, peer):
    """The local port of a connection to `peer`."""
    def find():
        lines = lab.run(node, "ss", "-Hn", f"-{kind}", "dst", peer, quiet=True).stdout.splitlines()
        return int(lines[0].split()[3].rsplit(":", 1)[1]) if lines else 0
    port = wait_until(find, 5)
    check(port, f"{node} has no connection to {peer}")
    return port


def forged(lab):
    """Forged RST and ICMP errors against another device's session and the gateway's uplink"""
    sniffer = lab.listen("dev3", "/usr/bin/python3", "-c", SNIFFER, stdin=-1)
    lab.run("gw", "nft", "-f", "-", input=COUNT_FORGED, quiet=True)
    uplink, before = port_of(lab, "gw", "t", "203.0.113.10"), way(lab)
    value = f"open {os.getpid()} {time.monotonic_ns()}".encode()
    hello = connect("dev3") + publish("x", value, qos=0)
    try:
        mqtt3 = begin(lab, "dev3", gateway_tls({"cert": "dev3", "pause": 4, "wait": 1,
                                                "send": [hello.hex()] + 2 * [PING.hex()]}))
        coap2 = begin(lab, "dev2", {"to": "[fd00:20::1]:5684", "cert": "dev2", "dtls": True, "pause": 4,
                                    "send": [message(POST, ["t", "x"], b"1", number=i).hex()
                                             for i in (1, 2, 3)]})
        lab.wait_arrived(lambda t, data: data == value, "dev3's first message")
        sniffer.stdin.write("\n")
        sniffer.stdin.flush()
        known = json.loads(sniffer.stdout.readline())
        made = forgeries(gateway_mac(lab, "vl10"), known, uplink,
                         port_of(lab, "dev2", "u", "[fd00:20::1]"))
        sent = f.send(lab, "dev1", made)
        seen = lab.counter("gw", "seen")
        heard, answers = told(end(mqtt3)["heard"]), codes(end(coap2)["heard"])
        lab.say(f"{sent} forgeries with the right numbers; past the filter: {seen}")
        check(seen == 0, f"{seen} get past the filter")
        check(heard == [OK, "PINGRESP 0x00", "PINGRESP 0x00"], f"dev3's session: {heard}")
        check(set(answers.values()) == {"2.04"} and len(answers) == 3, f"dev2's: {answers}")
        check(port_of(lab, "gw", "t", "203.0.113.10") == uplink, "the uplink is another connection")
        check(way(lab) == before, f"the gateway's ways changed: {way(lab)}, not {before}")
    finally:
        lab.run("gw", "nft", "delete", "table", "inet", "story", quiet=True)
