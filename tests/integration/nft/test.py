#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon's enforcer and the kernel: real packets between network namespaces.

    test.py ENFORCER-TOOL REFERENCE.nft

Needs root. Everything happens in namespaces named nfttest-PID-*. The world:

    cam    10.10.0.10 fd00:10::10 --- vlan10 |         |
    meter  10.20.0.20 ---+                   |   gw    | wan0 --- up   192.0.2.10 192.0.2.11 ...
    lock   10.20.0.30 ---+- br -----  vlan20 |         |
    guest  10.20.0.99 ---+                   |         | mgmt0 -- op   172.31.0.2
"""
import atexit
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

SKIP = 77
TOOL, REFERENCE = sys.argv[1:3]
AGENT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "agent.py")
PREFIX = "nfttest-%d-" % os.getpid()  # several runs at once do not meet
NODES = ["gw", "cam", "meter", "lock", "guest", "up", "op", "ref"]

CONFIG = """\
zone a vlan10 dhcp dns ping
zone b vlan20 ntp ping
uplink wan0
masquerade
class cam affirming tcp:192.0.2.10:443 affirming tcp:[2001:db8::10]:443 affirming udp:[2001:db8:1::/48]:123
class meter unattested udp:198.51.100.0/24:5000-5100
device cam a cam 02:00:00:00:00:0a affirming 1h 10.10.0.10 fd00:10::10
device lamp a cam 02:00:00:00:00:0b unattested -
device meter b meter - unattested - 10.20.0.20
device lock b meter - contraindicated - 10.20.0.30
"""

failed = passed = 0
processes = []


def check(what, ok, detail=""):
    global failed, passed
    passed += ok
    failed += not ok
    print("%s - %s%s" % ("ok" if ok else "NOT OK", what, " (%s)" % detail if detail else ""),
          flush=True)


def run(*words, check_exit=True):
    p = subprocess.run(words, capture_output=True, text=True)
    if check_exit and p.returncode != 0:
        sys.exit("%s: %s" % (" ".join(words), p.stderr))
    return p.stdout


def ip(node, *words):
    return run("ip", "-n", PREFIX + node, *words)


def inside(node, *words):
    return run("ip", "netns", "exec", PREFIX + node, *words)


class Child:
    """A program in a namespace that is asked line by line."""

    def __init__(self, node, *words):
        self.process = subprocess.Popen(["ip", "netns", "exec", PREFIX + node, *words],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(self.process)

    def write(self, text):
        self.process.stdin.write(text)
        self.process.stdin.flush()

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("%s has ended" % self.process.args[-1])
        return line.strip()

    def end(self):
        self.process.kill()
        self.process.wait()


class Host(Child):
    def __init__(self, node):
        super().__init__(node, sys.executable, AGENT)

    def __getattr__(self, verb):
        def call(**arguments):
            self.write(json.dumps(dict(arguments, do=verb)) + "\n")
            return json.loads(self.read())
        return call


class Tool(Child):
    def __init__(self, node, config):
        super().__init__(node, TOOL)
        self.write(config + "load\n")
        _, error, microseconds = self.read().split()
        self.error, self.load_time = int(error), int(microseconds) / 1000

    def load(self, config, before=""):
        """Another configuration, and in the same turn what stands before it."""
        self.write(before + "clear\n" + config + "load\n")
        _, error, microseconds = self.read().split()
        self.load_time = int(microseconds) / 1000
        return int(error)

    def applied(self):
        """The answer to something that was asked for before a load: device, error."""
        _, name, error, _ = self.read().split()
        return name, int(error)

    def apply(self, line):
        self.write(line + "\n")
        _, _, error, microseconds = self.read().split()
        return int(error), int(microseconds) / 1000

    def finish(self):
        """As the daemon stops: everything is freed, the table stays."""
        self.process.stdin.close()
        check("the program ends in order, and the table stays", self.process.wait(10) == 0 and
              "chain from_zone" in listing("gw"))

    def apply_all(self, *lines):
        for line in lines:
            self.write(line + "\n")
        for _ in lines:
            if (said := self.read()).split()[2] != "0":
                sys.exit(said)

    def apply_together(self, *lines):
        """In one turn; the errors by device."""
        self.write("".join(line + "\n" for line in lines))
        return {words[1]: int(words[2]) for words in (self.read().split() for _ in lines)}

    def query(self, device):
        self.write("query %s\n" % device)
        rows = []
        while not (line := self.read()).startswith("end"):
            kind, address, rule, present, _, packets, _, _, _, left = line.split()
            rows.append(dict(kind=kind, address=address, rule=rule, present=present == "present",
                             packets=int(packets), left=int(left)))
        self.held = line.endswith("held")
        return rows

    def is_held(self, device):
        self.query(device)
        return self.held

    def forget(self, address):
        self.write("forget %s\n" % address)
        return tuple(map(int, self.read().split()[1:]))

    def counters(self):
        self.write("counters\n")
        words = self.read().split()[1:]
        return dict(zip(words[::2], map(int, words[1::2])))


def clean_up():
    for p in processes:
        if p.poll() is None:
            p.kill()
            p.wait()
    for node in NODES:
        run("ip", "netns", "del", PREFIX + node, check_exit=False)


def connect(node, name, gateway_name, master=None):
    ip("gw", "link", "add", gateway_name, "type", "veth", "peer", "name", name, "netns",
       PREFIX + node)
    if master:
        ip("gw", "link", "set", gateway_name, "master", master)
    ip("gw", "link", "set", gateway_name, "up")


def address(node, interface, *addresses):
    for a in addresses:
        ip(node, "addr", "add", a, "dev", interface, *(["nodad"] if ":" in a else []))


def build():
    for node in NODES:
        run("ip", "netns", "add", PREFIX + node)
        ip(node, "link", "set", "lo", "up")
    ip("gw", "link", "add", "vlan20", "type", "bridge")
    ip("gw", "link", "set", "vlan20", "up")
    connect("cam", "dev0", "vlan10")
    for node in ("meter", "lock", "guest"):
        connect(node, "dev0", "p-" + node, "vlan20")
    connect("up", "up0", "wan0")
    connect("op", "op0", "mgmt0")
    ip("cam", "link", "set", "dev0", "address", "02:00:00:00:00:0a")
    address("gw", "vlan10", "10.10.0.1/24", "fd00:10::1/64")
    address("gw", "vlan20", "10.20.0.1/24")
    address("gw", "wan0", "203.0.113.2/24", "2001:db8:ffff::2/64")
    address("gw", "mgmt0", "172.31.0.1/24")
    for node, addresses, gateway in (("cam", ["10.10.0.10/24", "fd00:10::10/64"], "10.10.0.1"),
                                     ("meter", ["10.20.0.20/24"], "10.20.0.1"),
                                     ("lock", ["10.20.0.30/24"], "10.20.0.1"),
                                     ("guest", ["10.20.0.99/24"], "10.20.0.1")):
        address(node, "dev0", *addresses)
        ip(node, "link", "set", "dev0", "up")
        ip(node, "route", "add", "default", "via", gateway)
    ip("cam", "-6", "route", "add", "default", "via", "fd00:10::1")
    address("up", "up0", "203.0.113.1/24", "2001:db8:ffff::1/64")
    address("up", "lo", "192.0.2.10/32", "192.0.2.11/32", "198.51.100.7/32", "2001:db8::10/128",
            "2001:db8:1::7/128")
    ip("up", "link", "set", "up0", "up")
    for net in ("10.0.0.0/8", "172.31.0.0/24"):
        ip("up", "route", "add", net, "via", "203.0.113.2")
    ip("up", "-6", "route", "add", "fd00:10::/64", "via", "2001:db8:ffff::2")
    address("op", "op0", "172.31.0.2/24")
    ip("op", "link", "set", "op0", "up")
    ip("op", "route", "add", "default", "via", "172.31.0.1")
    ip("gw", "route", "add", "default", "via", "203.0.113.1")
    ip("gw", "-6", "route", "add", "default", "via", "2001:db8:ffff::1")
    inside("gw", "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv6.conf.all.forwarding=1",
           "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0",
           "net.ipv4.conf.vlan10.rp_filter=0", "net.ipv4.conf.vlan20.rp_filter=0")


def listing(node, table="sallyport"):
    return inside(node, "nft", "-s", "list", "table", "inet", table)


def test_listing():
    """The batch and nft/sallyport.nft are the same table; time alone has gone on."""
    reference = listing("ref")
    batch = listing("gw")
    left = re.findall(r"timeout (\S+)", batch)
    check("each verdict has its hour in the kernel",
          len(left) == 2 and all(t == "1h" or t.startswith("59m5") for t in left), str(left))
    batch = re.sub(r"timeout 59m\S*[^,\s}]", "timeout 1h", batch)
    check("the batch and the reference list alike (%d bytes)" % len(reference),
          batch == reference)
    if batch != reference:
        import difflib
        print("\n".join(difflib.unified_diff(reference.splitlines(), batch.splitlines(),
                                             lineterm="")))


def test_allowed(t, h):
    cam, meter, lock, guest = h["cam"], h["meter"], h["lock"], h["guest"]
    check("cam: allowed, and masqueraded",
          cam.tcp(address="192.0.2.10", port=443) == "203.0.113.2")
    check("cam: same host, other port", not cam.tcp(address="192.0.2.10", port=80))
    check("cam: other host", not cam.tcp(address="192.0.2.11", port=443))
    check("cam: other protocol", not cam.udp(address="192.0.2.10", port=443))
    check("cam: allowed over IPv6",
          cam.tcp(address="2001:db8::10", port=443) == "2001:db8:ffff::2")
    check("cam: IPv6 prefix", bool(cam.udp(address="2001:db8:1::7", port=123)))
    check("cam: IPv6 prefix, other port", not cam.udp(address="2001:db8:1::7", port=124))
    check("meter: prefix and port range, unattested",
          bool(meter.udp(address="198.51.100.7", port=5050)))
    check("meter: outside the range", not meter.udp(address="198.51.100.7", port=6000))
    check("meter: what another may", not meter.tcp(address="192.0.2.10", port=443))
    check("lock: contraindicated, nothing", not lock.udp(address="198.51.100.7", port=5050))
    check("guest: nobody's host, nothing", not guest.udp(address="198.51.100.7", port=5050))
    check("the uplink cannot reach in", not h["up"].tcp(address="10.10.0.10", port=443))
    rows = {r["rule"]: r["packets"] for r in t.query("cam") if r["kind"] == "allowed"}
    check("each allowance counts its packets", rows["tcp:192.0.2.10:443"] >= 4 and
          rows["tcp:[2001:db8::10]:443"] >= 4, str(rows))
    refused = [r["packets"] for r in t.query("cam") if r["kind"] == "refused"]
    check("what was refused counts for the device", sum(refused) >= 3, str(refused))


def test_gateway(h):
    cam, meter, lock, guest, up = h["cam"], h["meter"], h["lock"], h["guest"], h["up"]
    for name in ("cam", "meter", "lock", "guest"):
        gateway = "10.10.0.1" if name == "cam" else "10.20.0.1"
        check("%s: MQTT and CoAP of the gateway, at each of its ports" % name,
              bool(h[name].tcp(address=gateway, port=8883)) and
              bool(h[name].udp(address=gateway, port=5684)) and
              bool(h[name].udp(address=gateway, port=5685)))
    check("cam: MQTT over IPv6", bool(cam.tcp(address="fd00:10::1", port=8883)))
    check("cam: a zone's service", bool(cam.udp(address="10.10.0.1", port=53)))
    check("meter: another zone's service", not meter.udp(address="10.20.0.1", port=53))
    check("lock: no services while contraindicated", not lock.udp(address="10.20.0.1", port=123))
    check("meter: its own service", bool(meter.udp(address="10.20.0.1", port=123)))
    check("cam: no other port", not cam.tcp(address="10.10.0.1", port=22))
    check("cam: nor by another address", not cam.tcp(address="203.0.113.2", port=22))
    check("guest: no other port", not guest.tcp(address="10.20.0.1", port=22))
    for name, gateway, want in (("cam", "10.10.0.1", True), ("cam", "fd00:10::1", True),
                                ("lock", "10.20.0.1", False)):
        p = subprocess.run(["ip", "netns", "exec", PREFIX + name, "ping", "-c1", "-W1", gateway],
                           capture_output=True)
        check("%s: ping %s %s" % (name, gateway, "works" if want else "does not"),
              (p.returncode == 0) == want)
    check("the gateway can open a connection to a device",
          bool(h["gw"].tcp(address="10.10.0.10", port=443)))


def errors_arrived(node):
    """ICMP errors that a host got."""
    names, values = [line.split()[1:] for line in inside(node, "cat", "/proc/net/snmp").splitlines()
                     if line.startswith("Icmp:")]
    return int(values[names.index("InDestUnreachs")])


def test_related(h):
    """Errors about another device's connection are a way out for nobody."""
    stream(h)
    port = h["cam"].stream_port(port=5000)
    before = errors_arrived("up")
    for node in ("guest", "meter", "lock"):
        h[node].port_unreachable(peer="192.0.2.10", about="10.10.0.10", peer_port=5000, port=port)
    time.sleep(0.1)
    check("a host cannot send ICMP errors about a device's connection",
          errors_arrived("up") == before and is_open(h))

    def error_about_it():
        before = errors_arrived("cam")
        h["up"].port_unreachable(peer="203.0.113.2", about="192.0.2.10", peer_port=port, port=5000)
        return errors_arrived("cam") - before

    check("an error about its own connection reaches the device", wait_until(error_about_it, 5))
    element = ["element", "inet", "sallyport", "allowed4", "{ 10.10.0.10 . 192.0.2.10 . tcp . 5000 }"]
    inside("gw", "nft", "delete", *element)
    check("not without the allowance, even if the connection is not deleted",
          not any(error_about_it() for _ in range(5)) and bool(connections(5000)))
    inside("gw", "nft", "add", *element)
    h["cam"].stream_close(port=5000)
    h["cam"].stream(address="10.10.0.1", port=8883)
    port = h["cam"].stream_port(port=8883)
    before = errors_arrived("gw")
    for node in ("guest", "meter", "lock", "cam"):
        h[node].port_unreachable(peer="10.10.0.1", about="10.10.0.10", peer_port=8883, port=port)
    time.sleep(0.1)
    check("nor about its connection with the gateway, to the gateway",
          errors_arrived("gw") == before)
    h["cam"].stream_close(port=8883)


def test_foreign(h):
    check("the operator's SSH is not ours", bool(h["op"].tcp(address="172.31.0.1", port=22)))
    check("nor what is forwarded between other interfaces",
          h["op"].tcp(address="192.0.2.11", port=443) == "172.31.0.2")
    check("the operator cannot reach a device either",
          not h["op"].tcp(address="10.10.0.10", port=443))


def test_lateral(t, h):
    before = t.counters()["lateral"]
    check("no way from zone to zone", not h["cam"].tcp(address="10.20.0.20", port=443))
    ip("meter", "route", "add", "10.20.0.30/32", "via", "10.20.0.1")
    check("nor within a zone through the gateway",
          not h["meter"].tcp(address="10.20.0.30", port=443))
    ip("meter", "route", "del", "10.20.0.30/32")
    count = t.counters()["lateral"] - before
    check("counted as lateral", count >= 2, str(count))


def spoof(t, what, attempt):
    before = t.counters()["spoofed"]
    answer = attempt()
    count = t.counters()["spoofed"] - before
    check("%s: dropped and counted" % what, not answer and count > 0, "%s %d" % (answer, count))


def with_address(node, host, extra, to, port):
    ip(node, "addr", "add", extra + "/32", "dev", "dev0")
    try:
        return host.udp(address=to, port=port, source=extra)
    finally:
        ip(node, "addr", "del", extra + "/32", "dev", "dev0")


def set_hardware(node, hardware):
    ip(node, "link", "set", "dev0", "address", hardware)
    inside("gw", "ip", "neigh", "flush", "all")


def test_spoofing(t, h):
    cam, guest = h["cam"], h["guest"]
    spoof(t, "a second address", lambda: with_address("cam", cam, "10.10.0.66", "10.10.0.1", 5684))
    spoof(t, "an address of another zone",
          lambda: with_address("cam", cam, "10.20.0.66", "10.10.0.1", 5684))
    spoof(t, "a device's address in another zone",
          lambda: with_address("guest", guest, "10.10.0.10", "10.20.0.1", 5684))
    set_hardware("cam", "02:00:00:00:00:0c")
    spoof(t, "a device's address from other hardware",
          lambda: cam.tcp(address="192.0.2.10", port=443))
    set_hardware("cam", "02:00:00:00:00:0b")
    spoof(t, "a device's address from another device's hardware",
          lambda: cam.tcp(address="192.0.2.10", port=443))
    ip("cam", "addr", "add", "10.10.0.77/24", "dev", "dev0")
    check("a device without addresses reaches the gateway's ports from any",
          bool(cam.udp(address="10.10.0.1", port=5684, source="10.10.0.77")))
    check("and nothing else", not cam.tcp(address="192.0.2.10", port=443, source="10.10.0.77"))
    ip("cam", "addr", "del", "10.10.0.77/24", "dev", "dev0")
    set_hardware("cam", "02:00:00:00:00:0a")
    hardware = json.loads(ip("guest", "-j", "link", "show", "dev0"))[0]["address"]
    set_hardware("guest", "02:00:00:00:00:0a")
    spoof(t, "a device's hardware address in another zone",
          lambda: guest.udp(address="10.20.0.1", port=5684))
    spoof(t, "the same, with an address that has no hardware address",
          lambda: with_address("guest", guest, "10.20.0.20", "10.20.0.1", 5684))
    set_hardware("guest", hardware)
    ip("cam", "route", "replace", "default", "via", "10.10.0.1")
    ip("cam", "-6", "route", "replace", "default", "via", "fd00:10::1")
    check("cam, itself again", bool(cam.tcp(address="192.0.2.10", port=443)))


def neighbours():
    """What the gateway knows of who has which hardware address."""
    return {(n["dev"], n["dst"]): (n.get("lladdr"), n["state"][0])
            for n in json.loads(ip("gw", "-j", "neigh")) if n["dst"][:4] != "fe80"}


MINE = {("vlan10", "10.10.0.10"): ("02:00:00:00:00:0a", "PERMANENT"),
        ("vlan10", "fd00:10::10"): ("02:00:00:00:00:0a", "PERMANENT")}


def mine():
    found = neighbours()
    return {k: found.get(k) for k in MINE} == MINE


def test_neighbours(h):
    """Nobody takes a device's place by ARP or by neighbour discovery."""
    check("a device with a hardware address is the gateway's neighbour for good", mine(),
          str(neighbours()))
    h["cam"].claim(address="10.10.0.10", gateway="10.10.0.1", hardware="020000000066")
    h["cam"].claim(address="fd00:10::10", gateway="fd00:10::1", hardware="020000000066")
    h["cam"].claim(address="10.10.0.66", gateway="10.10.0.1", hardware="020000000066")
    time.sleep(0.1)
    check("forged ARP and neighbour advertisements change nothing of it", mine(),
          str(neighbours()))
    check("while they do for an address of nobody",
          neighbours().get(("vlan10", "10.10.0.66"), ("",))[0] == "02:00:00:00:00:66",
          str(neighbours()))
    ip("gw", "link", "set", "vlan10", "down")
    ip("gw", "link", "set", "vlan10", "up")
    address("gw", "vlan10", "fd00:10::1/64")
    end = time.monotonic() + 5
    while not mine() and time.monotonic() < end:
        time.sleep(0.02)
    check("an interface that was down has them again", mine(), str(neighbours()))


def test_neighbours_go():
    t = Tool("gw", CONFIG)
    ip("gw", "neigh", "replace", "10.10.0.77", "lladdr", "02:00:00:00:00:77", "dev", "vlan10",
       "nud", "permanent")
    t.end()
    check("they stay when the program dies", mine(), str(neighbours()))
    t = Tool("gw", CONFIG.replace("10.10.0.10 fd00:10::10", "10.10.0.10"))
    left = neighbours()
    check("what an earlier one entered goes with the device's address",
          ("vlan10", "fd00:10::10") not in left and ("vlan10", "10.10.0.10") in left, str(left))
    check("the operator's own stay", left.get(("vlan10", "10.10.0.77")) ==
          ("02:00:00:00:00:77", "PERMANENT"), str(left))
    t.load(CONFIG.replace("00:0a affirming", "00:1a affirming"))
    left = neighbours()
    check("another hardware address takes the place of the one before",
          left.get(("vlan10", "10.10.0.10")) == ("02:00:00:00:00:1a", "PERMANENT"), str(left))
    t.load(CONFIG)
    check("and all comes again with the old configuration", mine(), str(neighbours()))
    t.end()


def test_dhcp(h):
    ip("cam", "addr", "del", "10.10.0.10/24", "dev", "dev0")
    ip("cam", "route", "add", "255.255.255.255/32", "dev", "dev0")
    h["cam"].dhcp(interface="dev0")
    time.sleep(0.1)
    check("DHCP works without an address", bool(h["gw"].last_received(port=67)))
    ip("cam", "route", "del", "255.255.255.255/32", "dev", "dev0")
    ip("cam", "addr", "add", "10.10.0.10/24", "dev", "dev0")
    ip("cam", "route", "replace", "default", "via", "10.10.0.1")


def stream(h):
    error = h["cam"].stream(address="192.0.2.10", port=5000)
    if error:
        check("a connection opens", False, error)
    time.sleep(0.1)


def last_byte(h, port=5000):
    """When the last byte of a stream came through, in either direction."""
    return max(h["cam"].stream_last(port=port) or 0, h["up"].last_received(port=port) or 0)


def is_open(h):
    before = last_byte(h)
    time.sleep(0.15)
    return last_byte(h) > before


def ends(h):
    """A receiver on a busy machine may still be reading what had passed."""
    return wait_until(lambda: not is_open(h), 3)


def wait_until(condition, timeout=70):
    end = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < end:
        time.sleep(0.01)
    return value


def connections(port, address="10.10.0.10"):
    """The kernel's ids of the connections that a device opened to a port."""
    said = inside("gw", "conntrack", "-L", "-s", address, "-o", "id")
    return {i for p, i in re.findall(r"dport=(\d+) src=.*\bid=(\d+)", said) if int(p) == port}


def are_deleted(port, address="10.10.0.10"):
    """The enforcer deletes them after its answer."""
    return wait_until(lambda: not connections(port, address))


def cut_once(t, h, what, close, reopen):
    """After how many milliseconds the last byte came through."""
    error, _ = t.apply(reopen)
    check("%s: opened again" % what, error == 0)
    stream(h)
    time.sleep(0.3)
    check("%s: a connection is open" % what, is_open(h))
    begin = time.monotonic()
    error, took = t.apply(close)
    check("%s: applied" % what, error == 0, "%.2f ms" % took)
    time.sleep(0.6)
    return (last_byte(h) - begin) * 1000


def test_cut(t, h, what, close, reopen):
    # A busy machine may hold up whoever looks, but not each time.
    after = []
    while len(after) < 4 and (not after or after[-1] >= 100):
        after.append(cut_once(t, h, what, close, reopen))
    check("%s: cuts the open connection within 100 ms" % what, after[-1] < 100,
          "last byte %s ms after the decision" % ", ".join("%.1f" % a for a in after))
    check("%s: and it stays cut" % what, ends(h) and not is_open(h))
    check("%s: no connection of it is left" % what, are_deleted(5000) and are_deleted(443) and
          t.forget("10.10.0.10") == (0, 0))


def test_forget(t, h):
    t.forget("10.10.0.10")
    stream(h)
    check("connections of other addresses are not forgotten", is_open(h) and
          t.forget("10.10.0.200") == (0, 0) and is_open(h))
    check("an open connection is", t.forget("10.10.0.10") == (0, 1))


def test_postures(t, h):
    cam = h["cam"]
    test_cut(t, h, "contraindicated", "posture cam contraindicated -", "posture cam affirming 1h")
    check("contraindicated: no new connection", not cam.tcp(address="192.0.2.10", port=443))
    check("contraindicated: can attest", bool(cam.udp(address="10.10.0.1", port=5684)) and
          bool(cam.tcp(address="10.10.0.1", port=8883)))
    check("contraindicated: no services", not cam.udp(address="10.10.0.1", port=53))
    rows = [r for r in t.query("cam") if r["kind"].startswith("quarantined")]
    check("contraindicated: what was dropped is counted", sum(r["packets"] for r in rows) > 0)
    test_cut(t, h, "quarantine by the operator", "quarantine cam on", "posture cam affirming 1h")
    t.apply("quarantine cam off")
    test_cut(t, h, "unattested", "posture cam unattested -", "posture cam affirming 1h")
    t.apply("posture cam affirming 1h")
    stream(h)
    time.sleep(0.2)
    before = {r["rule"]: r["packets"] for r in t.query("cam") if r["kind"] == "allowed"}
    t.apply("posture cam affirming 2h")
    rows = t.query("cam")
    after = {r["rule"]: r["packets"] for r in rows if r["kind"] == "allowed"}
    check("a renewed verdict holds connections and counters", is_open(h) and
          after["tcp:192.0.2.10:5000"] >= before["tcp:192.0.2.10:5000"] > 0)
    left = max(r["left"] for r in rows if r["kind"] == "open")
    check("and its new time is in the kernel", 7190e6 < left <= 7200e6, "%d us" % left)
    answer = cam.udp(address="192.0.2.10", port=9)
    check("an ICMP error finds its way to the device", answer == "unreachable", str(answer))


def test_dad(t):
    """An address that is being probed is nobody's yet."""
    before = t.counters()
    ip("cam", "addr", "del", "fd00:10::10/64", "dev", "dev0")
    ip("cam", "addr", "add", "fd00:10::10/64", "dev", "dev0")
    time.sleep(2)
    ip("cam", "-6", "route", "replace", "default", "via", "fd00:10::1")
    check("duplicate address detection is no spoofing",
          t.counters()["spoofed"] == before["spoofed"])


def test_refused_by_the_kernel(t, h):
    t.apply("posture cam affirming 1h")
    stream(h)
    t.write("power off\n")
    error, _ = t.apply("posture cam contraindicated -")
    check("a change that the kernel refuses is told", error == -1 and is_open(h), str(error))
    t.write("power on\n")
    check("the device is held", t.is_held("cam"))
    check("the change comes into force by itself once the kernel takes it, and the device is not "
          "held any more", wait_until(lambda: not t.is_held("cam")) and
          ends(h) and not h["cam"].tcp(address="192.0.2.10", port=443))


def test_table_deleted(t, h):
    """What the next change finds is not taken for granted, even if it changes nothing."""
    for what, change in (("a change", "posture cam affirming 2h"),
                         ("a change of nothing", "posture lock contraindicated -")):
        inside("gw", "nft", "delete", "table", "inet", "sallyport")
        error, took = t.apply(change)
        check("a table that somebody deleted is built anew with %s" % what, error == 0 and
              bool(h["cam"].tcp(address="192.0.2.10", port=443)) and
              not h["cam"].tcp(address="192.0.2.11", port=443), "%.2f ms" % took)


def test_expiry(t, h):
    """The daemon is dead; the kernel ends the verdict."""
    begin = time.monotonic()
    error, _ = t.apply("posture cam affirming 1500ms")
    stream(h)
    t.end()
    time.sleep(0.5)
    check("expiry: open, with the program killed", error == 0 and is_open(h))
    time.sleep(1.5)
    last = (last_byte(h) - begin) * 1000
    check("expiry: the kernel cuts the open connection at its time", 1300 < last < 1600,
          "last byte after %.0f ms of 1500" % last)
    check("expiry: no new connection", not h["cam"].tcp(address="192.0.2.10", port=443))
    check("expiry: the gateway's ports stay", bool(h["cam"].tcp(address="10.10.0.1", port=8883)))


def reaches(host, *addresses):
    return [bool(host.tcp(address=a, port=443)) for a in addresses]


def test_one_refused(h):
    """The kernel refuses what one device is to get, and takes what the others are to get."""
    two = "unattested tcp:192.0.2.10:443 affirming tcp:192.0.2.10:443 affirming tcp:192.0.2.11:443"
    t = Tool("gw", CONFIG.replace("class meter", "class two %s\nclass meter" % two)
             .replace("device meter b meter", "device meter b two")
             .replace("device cam a cam 02:00:00:00:00:0a affirming 1h",
                      "device cam a cam 02:00:00:00:00:0a contraindicated -"))
    both = ("192.0.2.10", "192.0.2.11")
    check("one refused: as it begins", reaches(h["meter"], *both) == [True, False] and
          reaches(h["cam"], both[0]) == [False])
    t.write("fault refuse allowed4 10.20.0.20\n")
    told = t.apply_together("posture meter affirming 1h", "posture cam affirming 1h")
    check("one refused: each is told its own", told == {"meter": -2, "cam": 0}, str(told))
    check("one refused: the others get theirs", reaches(h["cam"], both[0]) == [True] and
          not t.is_held("cam"))
    check("one refused: it is closed, not as open as before", t.is_held("meter") and
          reaches(h["meter"], *both) == [False, False] and are_deleted(443, "10.20.0.20"))
    check("one refused: the gateway's ports stay", bool(h["meter"].tcp(address="10.20.0.1",
                                                                       port=8883)))
    told = t.apply_together("posture cam contraindicated -", "posture lock unattested -")
    check("one refused: the next change of others is no trouble",
          told == {"cam": 0, "lock": 0} and reaches(h["cam"], both[0]) == [False] and
          t.is_held("meter"), str(told))
    t.write("fault none\n")
    check("one refused: what it was to get comes by itself in the end",
          wait_until(lambda: not t.is_held("meter")) and reaches(h["meter"], *both) == [True, True])
    t.finish()


def test_held_among_busy_ones(h):
    """What comes for others does not put off the next try for one that is held."""
    t = Tool("gw", CONFIG.replace("class cam", "class two affirming tcp:192.0.2.10:443\nclass cam")
             .replace("device meter b meter", "device meter b two"))
    t.write("fault refuse allowed4 10.20.0.20\n")
    t.apply("posture meter affirming 1h")
    held = t.is_held("meter")
    t.write("fault none\n")

    def released():
        for line in ("posture cam contraindicated -", "posture cam affirming 1h"):
            t.apply(line)
        return not t.is_held("meter")
    check("a held device is tried again while others change all the time",
          held and wait_until(released, 20) and reaches(h["meter"], "192.0.2.10") == [True])
    t.finish()


def test_one_refused_and_no_table(h):
    """Somebody deletes the table, and the kernel refuses what one device is to get: the others are
    kept in their place all the same."""
    t = Tool("gw", CONFIG.replace("class cam", "class two affirming tcp:192.0.2.10:443\nclass cam")
             .replace("device meter b meter", "device meter b two"))
    t.write("fault refuse allowed4 10.20.0.20\n")
    inside("gw", "nft", "delete", "table", "inet", "sallyport")
    told = t.apply("posture meter affirming 1h")[0]
    check("one refused and no table: it is told, and everybody has less", told == -errno.ENOENT and
          reaches(h["meter"], "192.0.2.10") == [False] and
          reaches(h["cam"], "192.0.2.10", "192.0.2.11") == [True, False], str(told))
    inside("gw", "nft", "delete", "table", "inet", "sallyport")
    told = t.apply_together("posture meter affirming 2h", "posture cam affirming 2h")
    check("one refused and no table: with others at once", told["meter"] == -errno.ENOENT and
          reaches(h["meter"], "192.0.2.10") == [False] and
          reaches(h["cam"], "192.0.2.11") == [False], str(told))
    check("one refused and no table: the others get theirs by themselves",
          wait_until(lambda: not t.is_held("cam")) and
          reaches(h["cam"], "192.0.2.10", "192.0.2.11") == [True, False] and t.is_held("meter"))
    t.finish()


def test_no_plan(h):
    """What was to come is not what comes instead of something that cannot be."""
    t = Tool("gw", CONFIG.replace("affirming 1h", "unattested -"))
    t.write("posture cam affirming 1h\nfault plan cam\nposture cam contraindicated -\n")
    told = [int(t.read().split()[2]) for _ in range(2)]
    check("no plan: both are told", told == [-errno.EINVAL] * 2, str(told))
    time.sleep(1.5)  # the time of the first retry, if there is one
    check("no plan: the device stays closed", t.is_held("cam") and
          reaches(h["cam"], "192.0.2.10") == [False])
    check("no plan: until there is one", t.load(CONFIG) == 0 and not t.is_held("cam") and
          reaches(h["cam"], "192.0.2.10") == [True])
    t.finish()


def test_netlink_trouble(h):
    """Batches that do not go out, answers that are lost."""
    t = Tool("gw", CONFIG)
    postures = {"posture cam contraindicated -": False, "posture cam affirming 1h": True}
    for fault in ("send %d 1" % errno.ENOBUFS, "send %d 1" % errno.ENOMEM,
                  "send %d 1" % errno.EINTR, "lose %d 1" % errno.ENOBUFS,
                  "lose %d 1" % errno.EAGAIN, "interrupt"):
        for line, opens in postures.items():
            t.write("fault %s\n" % fault)
            error, _ = t.apply(line)
            check("trouble once (%s): %s is in force" % (fault, line), error == 0 and
                  reaches(h["cam"], "192.0.2.10") == [opens] and not t.is_held("cam"))
    for fault, number in (("send", errno.ENOBUFS), ("lose", errno.ENOBUFS)):
        t.write("fault %s %d 1000000\n" % (fault, number))
        error, _ = t.apply("posture cam contraindicated -")
        check("trouble for long (%s): a tightening is told to have failed" % fault,
              error == -number and t.is_held("cam"))
        error, _ = t.apply("quarantine cam on")
        check("trouble for long (%s): so is a quarantine" % fault,
              error == -number and t.is_held("cam"))
        check("trouble for long (%s): so is a reload" % fault, t.load(CONFIG) == -number)
        t.write("fault none\n")
        check("trouble for long (%s): it ends closed" % fault,
              wait_until(lambda: not t.is_held("cam")) and
              reaches(h["cam"], "192.0.2.10") == [False] and
              any(r["kind"] == "quarantined" and r["present"] for r in t.query("cam")))
        error, _ = t.apply("quarantine cam off")
        error, _ = t.apply("posture cam affirming 1h")
        check("trouble for long (%s): and opens again" % fault, error == 0 and
              reaches(h["cam"], "192.0.2.10") == [True])
    t.write("fault send %d 1000000\n" % errno.ENOBUFS)
    told = [t.apply(line)[0] for line in ("posture cam contraindicated -",
                                          "posture cam affirming 1h")]
    t.write("fault none\n")
    check("of changes that are refused the last comes into force",
          told == [-errno.ENOBUFS] * 2 and wait_until(lambda: not t.is_held("cam")) and
          reaches(h["cam"], "192.0.2.10") == [True], str(told))
    t.finish()


def test_many():
    rules = " ".join("affirming tcp:100.80.%d.10:443" % i for i in range(10))
    config = "zone a vlan10\nuplink wan0\nclass many %s\n" % rules
    t = Tool("gw", config + "device cam a many 02:00:00:00:00:0a affirming 1h 10.10.0.10\n"
             "many 1000 a many\n")
    check("1,001 devices with 10 allowances each load", t.error == 0, "%.1f ms" % t.load_time)
    again = t.load(config + "device cam a many 02:00:00:00:00:0a affirming 1h 10.10.0.10\n"
                   "many 1000 a many\n")
    check("and again", again == 0, "%.1f ms" % t.load_time)
    times = sorted(t.apply("posture many%d %s -" % (i, p))[1]
                   for i in range(100) for p in ("contraindicated", "affirming"))
    check("a posture among them is changed", True,
          "median %.2f ms, worst of %d %.2f ms" % (times[len(times) // 2], len(times), times[-1]))
    t.finish()


def test_reload(h):
    """What a new configuration takes away ends at once, what it leaves goes on."""
    five = CONFIG.replace("class cam", "class cam affirming tcp:192.0.2.10:5000")
    t = Tool("gw", five)
    stream(h)
    check("reload: the same again leaves connections alone", t.load(five) == 0 and is_open(h))
    wider = five.replace("class cam", "class cam affirming tcp:192.0.2.11:443")
    check("reload: so does a wider rule", t.load(wider) == 0 and is_open(h) and
          bool(h["cam"].tcp(address="192.0.2.11", port=443)))
    t.end()
    h["cam"].stream_close(port=5000)
    for what, config in (("a rule that went", CONFIG),
                         ("a device that went", re.sub("device cam.*\n", "", five)),
                         ("an uplink that went", five.replace("uplink wan0\n", ""))):
        t = Tool("gw", five)
        stream(h)
        check("reload: open before %s" % what, is_open(h) and bool(connections(5000)))
        error = t.load(config)
        ended = ends(h)
        check("reload: %s ends its connections, and none is left" % what, error == 0 and
              ended and are_deleted(5000), "error %d, ended %s" % (error, ended))
        t.end()
        h["cam"].stream_close(port=5000)
    t = Tool("gw", five)
    stream(h)
    check("reload: open before the masquerade goes", is_open(h))
    t.load(five.replace("masquerade\n", ""))
    check("reload: without masquerade no connection keeps its old translation",
          any(not is_open(h) for _ in range(10)))
    h["cam"].stream_close(port=5000)
    t.load(five)
    error = t.load(five, before="posture cam contraindicated -\n")
    check("reload: a change that waits is in force with the load", error == 0 and
          t.applied() == ("cam", 0))
    error = t.load(re.sub("device cam.*\n", "", five), before="posture cam contraindicated -\n")
    check("reload: a change of a device that goes is told so", error == 0 and
          t.applied() == ("cam", -19))
    t.finish()


def table_handle():
    """Another one for each table that is built."""
    return re.search(r"handle (\d+)", inside("gw", "nft", "-a", "list", "table", "inet",
                                             "sallyport"))[1]


def without_time(text):
    return re.sub(r"timeout [^,\s}]+", "timeout", text)


def test_reload_by_difference():
    """What a load leaves in the kernel does not depend on what was there before."""
    base = CONFIG.replace("class cam", "class cam warning tcp:192.0.2.10:443")
    steps = [("a device more", base + "device new b meter - unattested - 10.20.0.40\n"),
             ("a device less", re.sub("device lamp.*\n", "", base)),
             ("addresses that change hands", base.replace("10.20.0.20", "10.20.0.99").replace(
                 "10.20.0.30", "10.20.0.20").replace("10.20.0.99", "10.20.0.30")),
             ("a hardware address that does", base.replace(
                 "lamp a cam 02:00:00:00:00:0b unattested -", "lamp a cam - unattested - 10.10.0.11")
              .replace("cam a cam 02:00:00:00:00:0a", "cam a cam 02:00:00:00:00:0b")),
             ("other rules", base.replace("5000-5100", "5000-5050 unattested udp:198.51.100.0/25:"
                                          "6000-6001")),
             ("other postures", base.replace("unattested - 10.20", "contraindicated - 10.20")),
             ("nothing", base)]
    t, r = Tool("gw", base), Tool("ref", base)
    handle = table_handle()
    for what, config in steps:
        errors = t.load(config), r.load("zone gone x0\n"), r.load(config)
        check("load by difference: %s" % what, errors == (0, 0, 0) and table_handle() == handle and
              without_time(listing("gw")) == without_time(listing("ref")), str(errors))
    inside("gw", "nft", "flush", "chain", "inet", "sallyport", "from_zone")
    check("load by difference: not where somebody changed the table", t.load(base) == 0 and
          table_handle() != handle and
          without_time(listing("gw")) == without_time(listing("ref")))
    handle = table_handle()
    t.write("fault lose %d 1\n" % errno.ENOBUFS)
    check("load by difference: nor where its answer is lost", t.load(steps[0][1]) == 0 and
          table_handle() != handle and t.load(base) == 0 and
          without_time(listing("gw")) == without_time(listing("ref")))
    r.end()
    t.finish()


BUSY = 150  # devices whose connections are looked for first, so that cam's are deleted late


def test_late_deletion(h):
    """A connection that begins after a change of posture is never taken by the deletion of those
    that were there before; nor one that the new posture allows, too."""
    t = Tool("gw", CONFIG.replace("class cam", "class cam warning tcp:192.0.2.10:443 "
                                  "affirming tcp:192.0.2.10:5000") +
             "class many affirming tcp:100.80.0.10:443\nmany %d a many\n" % BUSY)
    cam, meter, lost, late = h["cam"], h["meter"], [], 0
    cam.hold(address="10.10.0.1", port=8883, count=1)
    own = connections(8883)
    for _ in range(3):
        t.apply_all("posture cam affirming 1h", *("posture many%d affirming 1h" % i
                                                  for i in range(BUSY)))
        stream(h)
        cam.hold(address="192.0.2.10", port=443, count=1)
        before, old = connections(443), connections(5000)
        close = ["posture many%d contraindicated -" % i for i in range(BUSY)]
        t.apply_all(*close, "posture cam warning -")
        answered = cam.hold(address="192.0.2.10", port=443, count=5)
        late += bool(old & connections(5000))
        kept = connections(443)
        if answered != 6 or not before or not before <= kept or len(kept) < 6:
            lost.append("%d answers in %s" % (answered, kept))
        if not are_deleted(5000) or kept - connections(443) or cam.ask(port=443) != 6:
            lost.append("narrowed: %s" % (kept - connections(443)))
        cam.let_go(port=443)
        cam.stream_close(port=5000)

        t.apply_all(*(line.replace("contraindicated -", "affirming 1h") for line in close))
        t.apply_all(*close, "posture cam contraindicated -")
        t.apply("posture cam affirming 1h")
        answered = cam.hold(address="192.0.2.10", port=443, count=5)
        new = connections(443) - kept
        meter.udp(address="198.51.100.7", port=5050)
        if answered != 5 or len(new) != 5 or not connections(5050, "10.20.0.20"):
            lost.append("%d answers in %s" % (answered, new))
        t.apply("posture meter contraindicated -")  # its deletion stands behind cam's
        if not are_deleted(5050, "10.20.0.20") or new - connections(443) or \
                cam.ask(port=443) != 5:
            lost.append("opened: %s" % (new - connections(443)))
        cam.let_go(port=443)
        t.apply("posture meter unattested -")
    check("what begins after a change of posture stays, and what it allows", not lost,
          str(lost or "%d of 3 deletions came later" % late))
    check("and connections to the gateway itself", own and own <= connections(8883) and
          cam.ask(port=8883) == 1)
    cam.let_go(port=8883)
    t.finish()


def test_ways_out(h):
    """Configurations without an uplink, and without masquerade."""
    t = Tool("gw", CONFIG.replace("uplink wan0\n", ""))
    check("without an uplink nothing is forwarded", t.error == 0 and
          not h["cam"].tcp(address="192.0.2.10", port=443) and
          not h["cam"].tcp(address="2001:db8::10", port=443) and
          not h["meter"].udp(address="198.51.100.7", port=5050))
    check("and the gateway's ports stay", bool(h["cam"].tcp(address="10.10.0.1", port=8883)))
    t.end()
    t = Tool("gw", CONFIG.replace("uplink wan0", "uplink mgmt0"))
    check("nor by an interface that is no uplink",
          not h["cam"].tcp(address="192.0.2.10", port=443))
    t.end()
    t = Tool("gw", CONFIG.replace("masquerade\n", ""))
    check("without masquerade devices show their own addresses",
          h["cam"].tcp(address="192.0.2.10", port=443) == "10.10.0.10" and
          h["cam"].tcp(address="2001:db8::10", port=443) == "fd00:10::10")
    check("and nobody reaches in", not h["up"].tcp(address="10.10.0.10", port=443))
    t.end()


def test_refusals():
    t = Tool("gw", "zone a vlan10\nclass c\ndevice one a c - unattested - 10.0.0.1\n"
             "device two a c - unattested - 10.0.0.1\n")
    check("two devices with one address are refused", t.error == -17, str(t.error))
    t.end()
    t = Tool("gw", "zone a an-interface-name-that-is-too-long\n")
    check("an interface that cannot be is refused", t.error == -22, str(t.error))
    t.end()


def main():
    if os.geteuid() != 0:
        print("SKIP: needs root for network namespaces")
        return SKIP
    for program in ("conntrack", "ip", "nft", "ping", "sysctl"):
        if not shutil.which(program):
            print("SKIP: %s is not installed" % program)
            return SKIP
    atexit.register(clean_up)
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    build()
    h = {n: Host(n) for n in ("gw", "cam", "meter", "lock", "guest", "up", "op")}
    inside("ref", "nft", "-f", REFERENCE)
    inside("gw", "nft", "add table inet operator; add chain inet operator input "
           "{ type filter hook input priority 10; }; add rule inet operator input counter")
    foreign = listing("gw", "operator")
    t = Tool("gw", CONFIG)
    test_listing()
    t.end()

    t = Tool("gw", CONFIG.replace("class cam", "class cam affirming tcp:192.0.2.10:5000 "
                                  "affirming udp:192.0.2.10:9"))
    for port in (22, 8883):
        h["gw"].serve_tcp(address="0.0.0.0", port=port)
    h["gw"].serve_tcp(address="fd00:10::1", port=8883)
    for gateway in ("10.10.0.1", "10.20.0.1"):
        for port in (53, 123, 5684, 5685):
            h["gw"].serve_udp(address=gateway, port=port)
    h["gw"].serve_udp(address="0.0.0.0", port=67)
    for port in (80, 443):
        h["up"].serve_tcp(address="0.0.0.0", port=port)
    h["up"].serve_tcp(address="2001:db8::10", port=443)
    h["up"].serve_stream(address="192.0.2.10", port=5000)
    for a, port in (("192.0.2.10", 443), ("198.51.100.7", 5050), ("198.51.100.7", 6000),
                    ("2001:db8:1::7", 123), ("2001:db8:1::7", 124)):
        h["up"].serve_udp(address=a, port=port)
    for node in ("cam", "meter", "lock"):
        h[node].serve_tcp(address="0.0.0.0", port=443)

    test_allowed(t, h)
    test_gateway(h)
    test_related(h)
    test_foreign(h)
    test_lateral(t, h)
    test_spoofing(t, h)
    test_neighbours(h)
    test_dhcp(h)
    test_forget(t, h)
    test_postures(t, h)
    test_dad(t)
    test_refused_by_the_kernel(t, h)
    test_table_deleted(t, h)
    test_expiry(t, h)
    test_reload(h)
    test_reload_by_difference()
    test_late_deletion(h)
    test_ways_out(h)
    test_neighbours_go()
    test_one_refused(h)
    test_held_among_busy_ones(h)
    test_one_refused_and_no_table(h)
    test_no_plan(h)
    test_netlink_trouble(h)
    test_many()
    test_refusals()
    check("a foreign table is as it was", listing("gw", "operator") == foreign)
    print("# %d passed, %d failed" % (passed, failed))
    return failed > 0


sys.exit(main())
