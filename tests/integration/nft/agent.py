#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A host in a network namespace: does what test.py asks for, one JSON line each way."""
import json
import socket
import struct
import sys
import threading
import time

WAIT = 0.5  # seconds until "no answer"
last_received = {}  # port: time of the last byte that a stream's server got
streams = {}
sockets = {}


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def serve_one(connection, peer):
    """Answers each block with the client's address."""
    with connection:
        while connection.recv(1000):
            connection.sendall(peer.encode())


def stream(connection, note):
    """Bytes both ways all the time; note() at each that comes."""
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send():
        try:
            while True:
                connection.sendall(b"x")
                time.sleep(0.001)
        except OSError:
            pass

    threading.Thread(target=send, daemon=True).start()
    try:
        while connection.recv(1000):
            note(time.monotonic())
    except OSError:
        pass


def serve_stream(connection, port):
    stream(connection, lambda now: last_received.__setitem__(port, now))


def listen(address, port, handler):
    s = socket.create_server((address, port), family=family(address), backlog=50)

    def run():
        while True:
            connection, peer = s.accept()
            threading.Thread(target=handler, args=(connection, peer), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()


def do_serve_tcp(address, port):
    listen(address, port, lambda c, peer: serve_one(c, peer[0]))


def do_serve_stream(address, port):
    listen(address, port, lambda c, peer: serve_stream(c, port))


def do_serve_udp(address, port):
    s = socket.socket(family(address), socket.SOCK_DGRAM)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    s.bind((address, port))

    def run():
        while True:
            _, peer = s.recvfrom(1000)
            last_received[port] = time.monotonic()
            if peer[0] != "0.0.0.0":
                s.sendto(peer[0].encode(), peer)

    threading.Thread(target=run, daemon=True).start()


def exchange(kind, address, port, source):
    with socket.socket(family(address), kind) as s:
        s.settimeout(WAIT)
        if source:
            s.bind((source, 0))
        try:
            s.connect((address, port))
            s.send(b"x")
            return s.recv(100).decode()
        except OSError as e:
            return "unreachable" if isinstance(e, ConnectionRefusedError) else None


def do_tcp(address, port, source=None):
    return exchange(socket.SOCK_STREAM, address, port, source)


def do_udp(address, port, source=None):
    return exchange(socket.SOCK_DGRAM, address, port, source)


held = {}


def do_hold(address, port, count):
    """Opens connections that stay open; how many of them get an answer."""
    for _ in range(count):
        s = socket.socket(family(address))
        s.settimeout(WAIT)
        held.setdefault(port, []).append(s)
        try:
            s.connect((address, port))
        except OSError:
            pass
    return do_ask(port)


def do_ask(port):
    answered = 0
    for s in held[port]:
        try:
            s.send(b"x")
            answered += bool(s.recv(100))
        except OSError:
            pass
    return answered


def do_let_go(port):
    for s in held.pop(port, []):
        s.close()


def do_dhcp(interface):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        s.bind(("", 68))
        s.sendto(b"discover", ("255.255.255.255", 67))


def do_stream(address, port):
    s = socket.socket(family(address))
    s.settimeout(WAIT)
    s.connect((address, port))
    s.settimeout(None)
    streams[port] = None
    sockets[port] = s
    note = lambda now: streams.__setitem__(port, now)
    threading.Thread(target=stream, args=(s, note), daemon=True).start()


def checksum(data):
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    total = (total >> 16) + (total & 0xffff)
    return ~((total >> 16) + total) & 0xffff


def do_stream_port(port):
    """The local port of the stream to `port`."""
    return sockets[port].getsockname()[1]


def do_stream_close(port):
    sockets[port].shutdown(socket.SHUT_RDWR)


def do_port_unreachable(peer, about, peer_port, port):
    """Says to `peer` by ICMP that its packet for `about` did not arrive."""
    inner = struct.pack("!BBHHHBBH4s4sHHI", 0x45, 0, 40, 0, 0, 64, socket.IPPROTO_TCP, 0,
                        socket.inet_aton(peer), socket.inet_aton(about), peer_port, port, 0)
    inner = inner[:10] + struct.pack("!H", checksum(inner[:20])) + inner[12:]
    head = struct.pack("!BBHI", 3, 3, checksum(struct.pack("!BBHI", 3, 3, 0, 0) + inner), 0)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as s:
        s.sendto(head + inner, (peer, 0))


def do_claim(address, gateway, hardware):
    """Tells the gateway by ARP (RFC 826) or a neighbour advertisement (RFC 4861) that `address` is
    at `hardware`, unasked."""
    a = socket.inet_pton(family(address), address)
    b = socket.inet_pton(family(address), gateway)
    hw = bytes.fromhex(hardware)
    if family(address) == socket.AF_INET:
        frame = b"\x08\x06" + struct.pack("!HHBBH", 1, 0x800, 6, 4, 2) + hw + a + b"\xff" * 6 + b
    else:
        # Solicited and override, the hardware address as an option.
        body = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + a + b"\x02\x01" + hw
        pseudo = a + b + struct.pack("!II", len(body), 58)
        body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
        frame = b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + a + b + body
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as s:
        s.bind(("dev0", 0))
        s.send(b"\xff" * 6 + s.getsockname()[4] + frame)
        # For an address of nobody it takes a question to be in the table at all.
        if family(address) == socket.AF_INET:
            s.send(b"\xff" * 6 + s.getsockname()[4] + frame[:9] + b"\x01" + frame[10:])


def do_stream_last(port):
    return streams[port]


def do_last_received(port):
    return last_received.get(port)


for line in sys.stdin:
    request = json.loads(line)
    verb = request.pop("do")
    try:
        print(json.dumps(globals()["do_" + verb](**request)), flush=True)
    except OSError as e:
        print(json.dumps("error: %s" % e), flush=True)
