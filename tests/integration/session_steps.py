# SPDX-License-Identifier: GPL-3.0-or-later
"""MQTT sessions that outlive connections and the daemon, with clients of others."""

import json
import os
import random
import time

from lab import TOOLS, check, wait_until
from steps import GATEWAY, UPSTREAM

# How often the daemon dies in the middle of it; more of them for a night.
KILLS = int(os.environ.get("EXACT_KILLS", "5"))


def exactly_once(lab):
    """kill -9 again and again under two clients of Paho: QoS 2 exactly once, QoS 1 at least once"""
    seconds = 4 * KILLS
    topic = f"exact-{os.getpid()}-{time.monotonic_ns()}"
    clients = lab.start("dev1", f"{TOOLS}/exact-clients", GATEWAY, "dev1", str(seconds), topic)
    ends = time.monotonic() + seconds
    try:
        time.sleep(3)
        for _ in range(KILLS):
            time.sleep(random.uniform(0.3, 2.5))
            lab.service("kill", "daemon")
            lab.service("start", "daemon")
        check(time.monotonic() < ends + 60, "the daemon takes too long to come back")
        out, _ = clients.communicate(timeout=120)
    finally:
        lab.stop(clients)
    check(out.startswith("{"), f"the clients say: {out}")
    for qos, came in sorted(json.loads(out).items()):
        judge(lab, f"{topic}/{qos}", came["completed"], came["got"])


def once(numbers):
    return list(dict.fromkeys(numbers))


def judge(lab, topic, completed, got):
    """The order is that in which the gateway took them, which upstream has seen: a client may send
    in another one when it comes back."""
    missing, twice = set(completed) - set(got), len(got) - len(once(got))
    qos = topic[-1]

    def taken():
        return once(int(p) for t, _, p in lab.arrived() if t == f"{UPSTREAM}/dev1/{topic}")

    wait_until(lambda: set(taken()) >= set(got), 20)
    lab.say(f"QoS {qos}: {len(completed)} completed, missing {len(missing)}, twice {twice}")
    check(len(completed) > 100, "far too few went through")
    check(not missing, f"lost: {sorted(missing)[:5]}")
    check(qos == "1" or twice == 0, f"{twice} came twice")
    check([n for n in taken() if n in set(got)] == once(got), "in another order than they were taken")


def sessions(lab, *args):
    return json.loads(lab.run("gw", "sallyportctl", "--json", "sessions", *args, quiet=True).stdout)


def shown(lab):
    """a session that is away, and what is queued for it, in sallyportctl sessions and status"""
    client = f"dev1/shown-{time.monotonic_ns() % 10**9}"
    device = ("-h", GATEWAY, "-p", "8883", "--cafile", "operator.pem", "--cert", "dev1.pem", "--key",
              "dev1.key", "-V", "mqttv5")
    lab.run("dev1", "mosquitto_sub", *device, "-i", client, "-c", "-x", "600", "-q", "1", "-t", "shown/#",
            "-E")
    for n in range(3):
        lab.run("dev1", "mosquitto_pub", *device, "-i", "dev1", "-q", "1", "-t", "shown/a", "-m", f"m{n}")
    found = [s for s in sessions(lab, "dev1") if s["client_id"] == client]
    check(len(found) == 1, f"{client} is there {len(found)} times")
    s = found[0]
    check(not s["connected"] and s["kept"] and s["subscriptions"] == 1, s)
    check(s["queued"] == 3 and s["queued_bytes"] > 3 and 500 < s["expires_seconds"] <= 600, s)
    check(s in [{**o, "expires_seconds": s["expires_seconds"]} for o in sessions(lab)
                if o["client_id"] == client], "the list of all has it otherwise")
    line = next(t for t in lab.run("gw", "sallyportctl", "sessions", "dev1").stdout.splitlines()
                if client in t)
    check("away, ends in" in line, line)
    status = json.loads(lab.run("gw", "sallyportctl", "--json", "status", quiet=True).stdout)["mqtt"]
    check(status["sessions"] >= 1 and status["connected"] < status["sessions"], status)
    p = lab.run("gw", "sallyportctl", "sessions", "nobody", ok=False)
    check(p.returncode == 1 and "no device of this name" in p.stderr, p.stderr)
    lab.run("dev1", "mosquitto_sub", *device, "-i", client, "-c", "-x", "1", "-q", "1", "-t", "shown/#",
            "-W", "3", "-C", "3")
    wait_until(lambda: all(s["client_id"] != client for s in sessions(lab, "dev1")), 10)


STEPS = [exactly_once, shown]
