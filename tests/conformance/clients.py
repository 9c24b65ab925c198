# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that others wrote, against the same daemon: mosquitto's, Eclipse Paho in C and in Python,
mqtt.js. Each does the same in 3.1.1 and in 5.0: subscribes with QoS 2 and publishes with QoS 0, 1 and 2
to itself; publishes a retained message, subscribes to it, takes it away; leaves a session behind, and
finds there what came meanwhile. A program that is not here is skipped."""

import json
import os
import shutil
import signal
import subprocess
import time

from connection import PEER
from lab import TREE, Failure, check

MQTTJS = "5.10.4"  # runs with the Node.js of Debian 12
HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "clients")
HOST = "10.10.0.1"
NEEDED = "7.0.0-2"  # of 3.1.1: nothing but the standard is needed to work together
# topic, QoS, retain, payload
EXPECTED = ["a 0 0 m", "a 1 0 m", "a 2 0 m", "r 1 1 kept", "r 1 0 ", "present 1", "p 2 0 later"]
# What is built and fetched for them; stays for the next run.
MADE = os.path.abspath(os.path.join(os.environ.get("LAB_BUILD", f"{TREE}/build"), "conformance"))


class Skipped(Exception):
    """What it needs is not here."""


class Program:
    def __init__(self, name, version, text, run):
        self.version, self.title, self.pattern = version, f"{name}: {text}", f"with {name}"
        self.statements = [NEEDED] if version == 4 else []
        self.run, self.name = run, name
        self.__doc__ = f"{'5.0' if version == 5 else '3.1.1'}: {self.title}"

    def __call__(self, lab):
        if PEER:
            raise Skipped("it speaks to the lab's daemon alone")
        self.run(lab, self.version)


def unique():
    return f"c{os.getpid()}-{time.monotonic_ns() % 10**9}"


def scenario(lab, argv, version, uri=HOST, env=()):
    """Runs a program of clients/ and compares what it tells."""
    p = lab.run("dev1", "env", *env, *argv, str(version), uri, "dev1.pem", "dev1.key", "operator.pem",
                "dev1", unique(), ok=False, timeout=40, quiet=True)
    told = [line.removesuffix("\r") for line in p.stdout.splitlines()]
    check(told == EXPECTED, f"it tells\n      {told}\n      and not\n      {EXPECTED}\n      "
          f"{p.stderr.strip()[-400:]}")


# --- mosquitto ----------------------------------------------------------------------------------------

def words(program, version, client, *more):
    return [program, "-V", "mqttv5" if version == 5 else "mqttv311", "-h", HOST, "-p", "8883",
            "--cafile", "operator.pem", "--cert", "dev1.pem", "--key", "dev1.key", "-i", client, *more]


def publish(lab, version, topic, text, *more):
    lab.run("dev1", *words("mosquitto_pub", version, "dev1/pub", "-t", topic, "-m", text, *more),
            quiet=True)


def listening(lab, version, client, *more):
    """mosquitto_sub that has subscribed: what it prints is read when it has ended."""
    p = lab.start("dev1", "stdbuf", "-oL", *words("mosquitto_sub", version, client, "-d", "-F",
                                                  "> %t %q %r %p", *more), quiet=True)
    for line in p.stdout:
        if "Subscribed" in line or "ubscribed (mid" in line:
            return p
    raise Failure("mosquitto_sub does not subscribe")


def heard(process, base):
    """What it prints until its -W ends it. communicate() would miss what came with an earlier line."""
    lines = list(process.stdout)
    process.wait(timeout=5)
    return [line[2:].rstrip("\n").removeprefix(base + "/") for line in lines if line.startswith("> ")]


def mosquitto_qos(lab, version):
    t = unique()
    p = listening(lab, version, "dev1/sub", "-q", "2", "-t", f"{t}/#", "-C", "3", "-W", "10")
    for qos in "012":
        publish(lab, version, f"{t}/a", "m", "-q", qos)
    got = heard(p, t)
    check(got == ["a 0 0 m", "a 1 0 m", "a 2 0 m"], f"mosquitto_sub hears {got}")


def mosquitto_retained(lab, version):
    t = unique()
    publish(lab, version, f"{t}/r", "kept", "-q", "1", "-r")
    try:
        p = listening(lab, version, "dev1/sub", "-q", "1", "-t", f"{t}/#", "-C", "1", "-W", "6")
        got = heard(p, t)
        check(got == ["r 1 1 kept"], f"mosquitto_sub hears {got}")
    finally:
        publish(lab, version, f"{t}/r", "", "-q", "1", "-r")
    p = lab.run("dev1", *words("mosquitto_sub", version, "dev1/sub", "-t", f"{t}/#", "-C", "1", "-W", "1"),
                quiet=True, ok=False)
    check(not p.stdout, f"after it was taken away there is {p.stdout}")


def mosquitto_persistent(lab, version):
    t = unique()
    stay = ["-c", "-q", "2", "-t", f"{t}/#"] + (["-x", "60"] if version == 5 else [])
    lab.run("dev1", *words("mosquitto_sub", version, "dev1/stay", *stay, "-E"), quiet=True)
    for qos in "12":
        publish(lab, version, f"{t}/a", f"m{qos}", "-q", qos)
    p = lab.run("dev1", *words("mosquitto_sub", version, "dev1/stay", *stay, "-C", "2", "-W", "6",
                               "-F", "%q %p"), quiet=True, ok=False)
    # The session ends with the case.
    lab.run("dev1", *words("mosquitto_sub", version, "dev1/stay", "-t", f"{t}/x", "-E"), quiet=True, ok=False)
    check(p.stdout.split("\n")[:-1] == ["1 m1", "2 m2"], f"mosquitto_sub hears {p.stdout!r} afterwards")


def mosquitto_will(lab, version):
    t = unique()
    p = listening(lab, version, "dev1/sub", "-q", "1", "-t", f"{t}/w", "-C", "1", "-W", "10")
    q = listening(lab, version, "dev1/dies", "-t", f"{t}/x", "--will-topic", f"{t}/w", "--will-payload",
                  "gone", "--will-qos", "1")
    os.killpg(q.pid, signal.SIGKILL)
    got = heard(p, t)
    check(got == ["w 1 0 gone"], f"mosquitto_sub hears {got}")


# --- Paho and mqtt.js ---------------------------------------------------------------------------------

def paho_c(lab, version):
    if not shutil.which("cc") or not os.path.exists("/usr/include/MQTTClient.h"):
        raise Skipped("libpaho-mqtt-dev is not here")
    os.makedirs(MADE, exist_ok=True)
    p = subprocess.run(["cc", "-Wall", "-o", f"{MADE}/with-paho", f"{HERE}/with-paho.c", "-lpaho-mqtt3cs"],
                       capture_output=True, text=True, timeout=60)
    check(p.returncode == 0, f"with-paho.c does not build: {p.stderr[-500:]}")
    scenario(lab, [f"{MADE}/with-paho"], version, uri=f"ssl://{HOST}:8883")


def paho_python(lab, version):
    p = subprocess.run(["/usr/bin/python3", "-c", "import paho.mqtt.client"], capture_output=True)
    if p.returncode != 0:
        raise Skipped("python3-paho-mqtt is not here")
    scenario(lab, ["/usr/bin/python3", f"{HERE}/with-paho.py"], version)


def mqttjs_here(where):
    try:
        with open(f"{where}/node_modules/mqtt/package.json") as f:
            return json.load(f)["version"] == MQTTJS
    except (OSError, ValueError, KeyError):
        return False


def fetch_mqttjs(where):
    """Debian has the one before (node-mqtt, 4.3): from npm, with nothing of it run while it is installed."""
    if mqttjs_here(where):
        return
    os.makedirs(where, exist_ok=True)
    try:
        p = subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--no-save",
                            "--fetch-retries=1", "--fetch-timeout=20000", f"--cache={MADE}/npm",
                            f"mqtt@{MQTTJS}"], cwd=where, capture_output=True, text=True, timeout=90)
    except subprocess.TimeoutExpired:
        raise Skipped("npm does not get mqtt.js within 90 s") from None
    if p.returncode != 0 or not mqttjs_here(where):
        raise Skipped(f"npm cannot get mqtt.js: {p.stderr.strip().splitlines()[:1]}")


def mqttjs(lab, version):
    if not shutil.which("npm") or not shutil.which("node"):
        raise Skipped("npm is not here")
    where = f"{MADE}/mqttjs"
    fetch_mqttjs(where)
    scenario(lab, ["node", f"{HERE}/with-mqttjs.js"], version, env=[f"NODE_PATH={where}/node_modules"])


CASES = [Program(name, version, text, run) for name, text, run in (
    ("mosquitto", "QoS 0, 1 and 2", mosquitto_qos),
    ("mosquitto", "a retained message", mosquitto_retained),
    ("mosquitto", "a session that stays", mosquitto_persistent),
    ("mosquitto", "a will", mosquitto_will),
    ("Paho C", "QoS, a retained message, a session that stays", paho_c),
    ("Paho Python", "QoS, a retained message, a session that stays", paho_python),
    ("mqtt.js", "QoS, a retained message, a session that stays", mqttjs)) for version in (4, 5)]
