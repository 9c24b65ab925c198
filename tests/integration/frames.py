# SPDX-License-Identifier: GPL-3.0-or-later
"""Ethernet frames made by hand, and a node that sends them as they are."""

import socket
import struct

MULTICAST = "33:33:00:00:00:01"
BROADCAST = "ff:ff:ff:ff:ff:ff"
UDP, TCP, ICMP, ICMPV6 = 17, 6, 1, 58
RST, SYN, ACK = 4, 2, 16

SENDER = r"""
import socket, sys, time
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0))
n = 0
for line in sys.stdin:
    s.send(bytes.fromhex(line)); n += 1
    time.sleep(0.001)
print(n)
"""


def send(lab, node, frames):
    """Sends them from a node's eth0, one a millisecond at most; how many."""
    p = lab.run(node, "/usr/bin/python3", "-c", SENDER, quiet=True,
                input="".join(f.hex() + "\n" for f in frames))
    return int(p.stdout)


def mac(text):
    return bytes.fromhex(text.replace(":", ""))


def ip(text):
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def checksum(data):
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def ethernet(to, sender, kind, data):
    return mac(to) + mac(sender) + struct.pack(">H", kind) + data


def arp(operation, hardware, address, to_hardware, to_address):
    return struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + mac(hardware) + ip(address) + \
        mac(to_hardware) + ip(to_address)


def packet(src, dst, protocol, data, hops=255):
    """IPv4 or IPv6, by the addresses."""
    if ":" in dst:
        return struct.pack(">IHBB", 6 << 28, len(data), protocol, hops) + ip(src) + ip(dst) + data
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(data), 1, 0, hops, protocol, 0, ip(src),
                       ip(dst))
    return head[:10] + struct.pack(">H", checksum(head)) + head[12:] + data


def summed(src, dst, protocol, data, at):
    """Puts in the checksum of a transport header, which is 0 so far."""
    a, b = ip(src), ip(dst)
    pseudo = a + b + (struct.pack(">II", len(data), protocol) if len(a) == 16 else
                      struct.pack(">BBH", 0, protocol, len(data)))
    return data[:at] + struct.pack(">H", checksum(pseudo + data) or 0xffff) + data[at + 2:]


def udp(src, dst, sport, dport, data):
    return packet(src, dst, UDP, summed(src, dst, UDP, struct.pack(
        ">HHHH", sport, dport, 8 + len(data), 0) + data, 6))


def tcp(src, dst, sport, dport, seq, ack, flags):
    return packet(src, dst, TCP, summed(src, dst, TCP, struct.pack(
        ">HHIIBBHHH", sport, dport, seq, ack, 5 << 4, flags, 1024, 0, 0), 16))


def icmp(src, dst, kind, code, body):
    """`body`: all after the checksum."""
    data = struct.pack(">BBH", kind, code, 0) + body
    if ":" in dst:
        return packet(src, dst, ICMPV6, summed(src, dst, ICMPV6, data, 2))
    return packet(src, dst, ICMP, data[:2] + struct.pack(">H", checksum(data)) + data[4:])


def lladdr(kind, hardware):
    """Option of neighbour discovery: 1 source, 2 target (RFC 4861, 4.6.1)."""
    return bytes([kind, 1]) + mac(hardware)
