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


STEPS = [exactly_once]
