# SPDX-License-Identifier: GPL-3.0-or-later
"""Attacks below the doors: packets that are not what they seem, and a gateway whose daemon is
away. Every packet carries a port that nobody else uses; what arrives anywhere is counted there."""

import json
import os
import time

from hostile_coap import Firmware
from lab import check, wait_until
from peers import PLANT, Reasons
from reload import changed, in_quarantine, table_of_another
from steps import INTERNET, STREAM, arrivals, coap, device, ruleset

# Destination ports 27000 to 27999 are this step's own: no client's, so that what the gateway says
# to one (a DTLS alert when it stops) is not counted. On the gateway behind its own filter.
COUNT = """
table inet story
delete table inet story
table inet story {
        counter seen { }
        chain input { type filter hook input priority 300; udp dport 27000-27999 counter name seen; }
        chain forward { type filter hook forward priority 300; udp dport 27000-27999 counter name seen; }
}
"""
NODES = ("gw", "dev1", "dev2", "dev3", "up", "inet")

# One frame at a time, made by hand: Ethernet, IPv4 or IPv6, extension headers, fragments, UDP.
SENDER = r"""
import json, socket, struct, sys, time
a = json.load(sys.stdin)
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(("eth0", 0))
def mac(t): return bytes.fromhex(t.replace(":", ""))
def total(b):
    b += b"\0" * (len(b) % 2); n = sum(struct.unpack(">%dH" % (len(b) // 2), b))
    while n >> 16: n = (n & 65535) + (n >> 16)
    return ~n & 65535 or 65535
def udp(src, dst, port):
    h = struct.pack(">HHHH", 40000, port, 8 + 8, 0) + b"sallypor"
    pseudo = src + dst + struct.pack(">LxxxB" if len(src) == 16 else ">HB", *((16, 17) if len(src) == 16 else (16, 17)))
    if len(src) == 4: pseudo = src + dst + b"\0\x11" + struct.pack(">H", 16)
    return h[:6] + struct.pack(">H", total(pseudo + h)) + h[8:]
def v4(src, dst, proto, data, frag=0, ident=1, options=b""):
    h = struct.pack(">BBHHHBBH4s4s", 0x45 + len(options) // 4, 0, 20 + len(options) + len(data), ident, frag, 64, proto, 0, src, dst) + options
    return h[:10] + struct.pack(">H", total(h)) + h[12:] + data
def v6(src, dst, nxt, data):
    return struct.pack(">IHBB16s16s", 6 << 28, len(data), nxt, 64, src, dst) + data
n = 0
for f in a["frames"]:
    six = ":" in f["dst"]
    fam = socket.AF_INET6 if six else socket.AF_INET
    src, dst = socket.inet_pton(fam, f["src"]), socket.inet_pton(fam, f["dst"])
    d = udp(src, dst, f["port"])
    how = f.get("how", "")
    if six:
        ext = {"hop": (0, bytes([17, 0, 1, 4, 0, 0, 0, 0])), "dest": (60, bytes([17, 0, 1, 4, 0, 0, 0, 0])),
               "routing": (43, bytes([17, 0, 0, 0, 0, 0, 0, 0])), "frag": (44, bytes([17, 0, 0, 0, 0, 0, 0, 9]))}
        if how == "frags":
            pk = [v6(src, dst, 44, bytes([17, 0]) + struct.pack(">HI", 1, 7) + d[:8]),
                  v6(src, dst, 44, bytes([17, 0]) + struct.pack(">HI", 8, 7) + d[8:])]
        elif how in ext: pk = [v6(src, dst, ext[how][0], ext[how][1] + d)]
        else: pk = [v6(src, dst, 17, d)]
    elif how == "frags": pk = [v4(src, dst, 17, d[:8], 0x2000), v4(src, dst, 17, d[8:], 1)]
    elif how == "late": pk = [v4(src, dst, 17, d[8:], 1, 2)]
    elif how == "source-route": pk = [v4(src, dst, 17, d, options=bytes([131, 7, 4]) + dst + b"\0")]
    elif how == "ipip": pk = [v4(src, socket.inet_aton(f["via"]), 4, v4(src, dst, 17, d))]
    else: pk = [v4(src, dst, 17, d)]
    for p in pk:
        s.send(mac(f["to"]) + mac(f["mac"]) + (b"\x86\xdd" if six else b"\x08\0") + p); n += 1
    time.sleep(0.003)
print(n)
"""

HOSTS4 = {"dev1": "10.10.0.11", "dev2": "10.20.0.12", "dev3": "10.10.0.13"}
HOSTS6 = {"dev1": "fd00:10::11", "dev2": "fd00:20::12", "dev3": "fd00:10::13"}
MAC = {"dev1": "02:00:00:00:10:11", "dev2": "02:00:00:00:20:12", "dev3": "02:00:00:00:10:13"}
AWAY4 = ["203.0.113.10", INTERNET, "203.0.113.2", "10.10.0.1", "10.20.0.1", "255.255.255.255",
         "224.0.0.1", "127.0.0.1"]
AWAY6 = ["2001:db8:ffff::10", "2001:db8::7", "2001:db8:ffff::2", "fd00:10::1", "fd00:20::1",
         "ff02::1"]


def gateway_mac(lab, interface):
    said = lab.run("gw", "cat", f"/sys/class/net/{interface}/address", quiet=True)
    return said.stdout.strip()


def frames(node, to):
    """Every lie that node can tell about who it is, to everybody."""
    other = "dev3" if node == "dev1" else "dev1"
    link = "fe80::1234"
    made = []
    for n, dst in enumerate([a for d, a in HOSTS4.items() if d != node] + AWAY4):
        for src in (HOSTS4[node], HOSTS4[other], HOSTS4["dev2"], "10.10.0.99", "198.51.100.7",
                    "127.0.0.1", "0.0.0.0", "10.10.0.1"):
            made.append({"src": src, "dst": dst, "mac": MAC[node]})
        made.append({"src": HOSTS4[other], "dst": dst, "mac": MAC[other]})
        made.append({"src": HOSTS4[node], "dst": dst, "mac": "02:00:00:00:00:66"})
        for how in ("frags", "late", "source-route"):
            made.append({"src": HOSTS4[node], "dst": dst, "mac": MAC[node], "how": how})
        made.append({"src": HOSTS4[node], "dst": dst, "mac": MAC[node], "how": "ipip",
                     "via": "10.10.0.1"})
    for dst in [a for d, a in HOSTS6.items() if d != node] + AWAY6:
        for src in (HOSTS6[node], HOSTS6[other], HOSTS6["dev2"], link, "fd00:10::99", "::1"):
            made.append({"src": src, "dst": dst, "mac": MAC[node]})
        for how in ("hop", "dest", "routing", "frag", "frags"):
            for src in (HOSTS6[node], link):
                made.append({"src": src, "dst": dst, "mac": MAC[node], "how": how})
    return [{**f, "to": to, "port": 27000 + i % 1000} for i, f in enumerate(made)]


class Counters:
    def __init__(self, lab):
        self.lab = lab
        for node in NODES:
            lab.run(node, "nft", "-f", "-", input=COUNT, quiet=True)

    def seen(self):
        return {n: c for n in NODES if (c := self.lab.counter(n, "seen"))}

    def done(self):
        for node in NODES:
            self.lab.run(node, "nft", "delete", "table", "inet", "story", quiet=True)

    def control(self):
        """The counters count: what the gateway itself sends arrives."""
        self.lab.run("gw", "bash", "-c", "for h in 127.0.0.1 10.10.0.11 10.20.0.12 10.10.0.13 203.0.113.10 "
                     "198.51.100.7; do echo x >/dev/udp/$h/27000; done", quiet=True)
        counted = wait_until(lambda: (lambda s: s if set(NODES) <= set(s) else None)(
            self.seen()), 3)
        check(counted, f"the counters do not count: {self.seen()}")
        for node in NODES:
            self.lab.run(node, "nft", "reset", "counters", "table", "inet", "story", quiet=True)


def lies(lab):
    """Spoofed addresses, foreign MACs, fragments, extension headers, tunnels, other zones"""
    counters = Counters(lab)
    try:
        counters.control()
        sent = 0
        for node, interface in (("dev1", "vl10"), ("dev3", "vl10")):
            made = frames(node, gateway_mac(lab, interface))
            p = lab.run(node, "/usr/bin/python3", "-c", SENDER, quiet=True, timeout=60,
                        input=json.dumps({"frames": made}))
            sent += int(p.stdout)
        time.sleep(0.5)
        seen = counters.seen()
        lab.say(f"{sent} frames; past the filter, anywhere: {seen or 'none'}")
        check(not seen, f"they arrive: {seen}")
    finally:
        counters.done()


# Small datagrams to everybody, until it is ended.
KNOCK = r"""
import socket, sys, time
four, six = (socket.socket(f, socket.SOCK_DGRAM) for f in (socket.AF_INET, socket.AF_INET6))
end = time.monotonic() + 40
n = 0
while time.monotonic() < end:
    for host in sys.argv[1:]:
        try:
            (six if ":" in host else four).sendto(b"knock", (host, 27000 + n % 1000))
        except OSError:
            pass
        n += 1
    time.sleep(0.01)
"""


def away(lab, daemon):
    """The daemon is stopped, killed with -9 and starts: nothing passes meanwhile"""
    counters = Counters(lab)
    try:
        counters.control()
        for node in ("dev1", "dev2", "dev3"):
            hosts = [a for d, a in HOSTS4.items() if d != node] + AWAY4[:5] + \
                    [a for d, a in HOSTS6.items() if d != node] + AWAY6[:5]
            lab.start(node, "/usr/bin/python3", "-c", KNOCK, *hosts, quiet=True)
        time.sleep(0.5)
        for verb in ("stop", "kill", "kill"):
            lab.service(verb, "daemon")
            time.sleep(0.7)
            check(not counters.seen(), f"after {verb}: {counters.seen()}")
            lab.service("start", "daemon")
            time.sleep(0.3)
        daemon.restarted()
        lab.say(f"three restarts; past the filter, anywhere: {counters.seen() or 'none'}")
        check(not counters.seen(), f"they arrive: {counters.seen()}")
    finally:
        lab.close()
        counters.done()
        lab.service("start", "daemon")


away.own = True


def flow(lab):
    """An open UDP flow of dev3 stops with its verdict"""
    drop_in = os.path.join(lab.dir, "gw/etc/sallyport/sallyport.conf.d")
    os.makedirs(drop_in, exist_ok=True)
    path = os.path.join(drop_in, "udp.conf")
    with open(path, "w") as f:
        f.write(f"[Class controller]\nEgress=udp:{INTERNET}:27100\n")
    firmware = Firmware(lab)
    counters = Counters(lab)
    try:
        lab.run("gw", "sallyportctl", "reload")
        code = firmware.post(firmware.token(firmware.claims(firmware.nonce())))
        check(code == "2.04", f"the token is answered with {code}")
        # One socket for all the time: one flow to the gateway's connection tracking.
        lab.start("dev3", "/usr/bin/python3", "-c", "import socket, sys, time\n"
                  "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
                  "while True: s.sendto(b'x', (sys.argv[1], 27100)); time.sleep(0.005)",
                  INTERNET, quiet=True)
        check(wait_until(lambda: lab.counter("inet", "seen") > 100, 5), "the flow does not open")
        code = firmware.post(firmware.token({**firmware.claims(firmware.nonce()), 2395: 0x6000}))
        state = device(lab, "dev3")["posture"]
        check(state == "contraindicated", f"dev3 is {state}")
        time.sleep(0.1)
        before = lab.counter("inet", "seen")
        time.sleep(1)
        more = lab.counter("inet", "seen") - before
        lab.say(f"{before} datagrams had passed; in the second after the verdict {more}")
        check(more == 0, f"{more} datagrams pass after the verdict")
    finally:
        lab.close()
        counters.done()
        os.remove(path)
        lab.run("gw", "sallyportctl", "reload")


SLACK = 0.5  # seconds in which this machine may give our programs no time


def run_out(lab, firmware, lifetime, meanwhile):
    """An open connection of dev3 from its verdict to the verdict's end. Hands out when the last line
    passed after the verdict was in force, or None where this machine is too slow for that time."""
    with open(os.path.join(lab.dir, "stream.log"), "w+") as log:
        receiver = lab.start("inet", STREAM, "receive", "80", stdout=log, quiet=True)
        check(wait_until(lambda: os.path.getsize(log.name), 5), "the receiver does not start")
        token = firmware.token(firmware.claims(firmware.nonce()))
        sent = time.monotonic()
        code = firmware.post(token)
        answered = time.monotonic()
        check(code == "2.04", f"the token is answered with {code}")
        sender = lab.start("dev3", STREAM, "send", INTERNET, "80", quiet=True)
        opened = wait_until(lambda: len(arrivals(log)) > 100, 5)
        meanwhile()
        in_time = time.monotonic() < sent + lifetime
        check(opened or not in_time, "the connection does not open")
        time.sleep(max(0, answered + lifetime + 1.5 - time.monotonic()))
        seen = arrivals(log)
        time.sleep(0.5)
        check(arrivals(log) == seen, "lines still pass")
        gave_up = sender.poll() is not None
        lab.stop(sender)
        lab.stop(receiver)
    if not in_time:
        return None
    check(not gave_up, "the sender gave up: nothing was measured")
    last = seen[-1] / 1e9
    check(sent + lifetime - SLACK < last < answered + lifetime + SLACK,
          f"the last line passes {last - sent:.2f} s after the post, {last - answered:.2f} s after "
          f"its answer; the verdict was to last {lifetime} s")
    return last - answered


def short_verdict(lab, firmware, path, meanwhile):
    for lifetime in (6, 30):
        with open(path, "w") as f:
            f.write(f"[Class controller]\nVerdictLifetime={lifetime}s\n")
        lab.service("start", "daemon")
        lab.run("gw", "sallyportctl", "reload")
        took = run_out(lab, firmware, lifetime, meanwhile)
        if took is not None:
            lab.say(f"the last line {took:.2f} s after the verdict of {lifetime} s was in force")
            return
    check(False, "this machine is too slow for a verdict of 30 s")


def expiry(lab, daemon):
    """A verdict runs out, with the daemon alive and with it killed: the open connection stops"""
    drop_in = os.path.join(lab.dir, "gw/etc/sallyport/sallyport.conf.d")
    os.makedirs(drop_in, exist_ok=True)
    path = os.path.join(drop_in, "short.conf")
    firmware = Firmware(lab)
    try:
        told = Reasons(lab, DEVICE="dev3", REASON="its verdict expired")
        short_verdict(lab, firmware, path, lambda: None)
        state = device(lab, "dev3")
        check((state["posture"], state["reason"]) == ("unattested", "its verdict expired"),
              f"dev3 is {state['posture']}: {state['reason']}")
        check(wait_until(told.new, 5), "the journal does not tell that the verdict expired")
        short_verdict(lab, firmware, path, lambda: lab.service("kill", "daemon"))
    finally:
        lab.close()
        os.remove(path)
        lab.service("start", "daemon")
        lab.run("gw", "sallyportctl", "reload")
    daemon.restarted()


expiry.own = True


def meddled(lab):
    """The filter's table is deleted, or another program's: an order is in force, or told not to be"""
    told = Reasons(lab, REASON="filter-rebuilt")
    try:
        lab.run("gw", "nft", "delete", "table", "inet", "sallyport")
        lab.run("gw", "sallyportctl", "quarantine", "dev2")
        check(in_quarantine(ruleset(lab)), "the quarantine is not in the filter")
        lab.say(f"journal: {wait_until(told.new, 5)[-1]['MESSAGE']}")
        lab.run("gw", "nft", "delete", "table", "inet", "sallyport")
        lab.run("gw", "sallyportctl", "quarantine", "dev2")
        check(in_quarantine(ruleset(lab)), "what is in force already is not looked after")
        with table_of_another(lab):
            p = lab.run("gw", "sallyportctl", "release", "dev2", ok=False)
            check(p.returncode == 1 and "packet filter does not take it" in p.stderr,
                  f"release: {p.returncode} {p.stderr}")
            p = lab.run("gw", "sallyportctl", "quarantine", "dev1", ok=False)
            check(p.returncode == 1 and "packet filter does not take it" in p.stderr,
                  f"quarantine: {p.returncode} {p.stderr}")
            check(device(lab, "dev1")["held"], "why does not tell that dev1 is held")
            lab.show_lines(p.stderr)
        check(wait_until(lambda: "10.10.0.11" in ruleset(lab) and not device(lab, "dev1")["held"],
                         70), "it does not come into force by itself")
        check(in_quarantine(ruleset(lab), "10.10.0.11"), "dev1 is not in quarantine")
        check(not in_quarantine(ruleset(lab)), "dev2 is not released")
    finally:
        for name in ("dev1", "dev2"):
            lab.run("gw", "sallyportctl", "release", name)


# One datagram from each of many ports, as fast as one a tenth of a millisecond.
CROWD = r"""
import socket, sys, time
n = 0
for port in range(20000, 20000 + int(sys.argv[3])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("", port))
        try: s.sendto(b"x" * 60, (sys.argv[1], int(sys.argv[2])))
        except OSError: continue
    n += 1
    time.sleep(0.0001)
print(n)
"""


def flows(lab, address):
    """What the gateway tracks of an address."""
    return lab.run("gw", "conntrack", "-L", "-s", address, quiet=True).stdout.count("\n")


def crowd(lab):
    """One device with thousands of flows: the others are served, and a verdict ends all of them"""
    firmware = Firmware(lab)
    with changed(lab, "sallyport.conf.d/crowd.conf",
                 lambda _: f"[Class controller]\nEgress=udp:{INTERNET}:27100\n"):
        lab.run("gw", "sallyportctl", "reload")
        code = firmware.post(firmware.token(firmware.claims(firmware.nonce())))
        check(code == "2.04", f"the token is answered with {code}")
        floods = [lab.start(node, "/usr/bin/python3", "-c", CROWD, host, port, count, quiet=True)
                  for node, host, port, count in (("dev3", INTERNET, "27100", "6000"),
                                                  ("dev1", "10.10.0.1", "5684", "4000"))]
        check(wait_until(lambda: flows(lab, "10.10.0.13") > 500, 10), "the flows do not begin")
        began = time.monotonic()
        lab.run("dev2", *coap("dev2", "post", "/t/meanwhile", "-t", "0", "-e", "1", gateway=PLANT),
                quiet=True)
        took = time.monotonic() - began
        sent = [int(p.communicate(timeout=30)[0]) for p in floods]
        tracked = flows(lab, "10.10.0.13"), flows(lab, "10.10.0.11")
        lab.say(f"dev3 and dev1 begin {sent} flows, {tracked} are tracked; dev2 posts in {took:.1f} s")
        check(min(sent) > 3000 and tracked[0] > 4096, "there is no crowd")
        check(took < 8, f"dev2 waits {took:.1f} s")
        code = firmware.post(firmware.token({**firmware.claims(firmware.nonce()), 2395: 0x6000}))
        check(device(lab, "dev3")["posture"] == "contraindicated", "dev3 is not contraindicated")
        # What it says to the gateway's own ports is no way out.
        left = wait_until(lambda: flows_beyond(lab) == 0, 10)
        check(left, f"{flows_beyond(lab)} flows of dev3 are left")
        lab.say("a verdict, and none of dev3's is left")
    lab.run("gw", "sallyportctl", "reload")


def flows_beyond(lab):
    return lab.run("gw", "conntrack", "-L", "-s", "10.10.0.13", "-d", INTERNET,
                   quiet=True).stdout.count("\n")
