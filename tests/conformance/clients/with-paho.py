#!/usr/bin/python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""with-paho.py VERSION HOST CERTIFICATE KEY CA CLIENT TOPIC: what clients.py tells of, with Eclipse Paho
Python (1.6 of Debian 12, 2.1 of Debian 13)."""

import queue
import ssl
import sys

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

VERSION, HOST, CERTIFICATE, KEY, CA, NAME, BASE = sys.argv[1:]
FIVE = VERSION == "5"


class Client:
    def __init__(self, suffix, clean=True):
        self.heard, self.events = queue.Queue(), queue.Queue()
        options = {"client_id": f"{NAME}/{suffix}",
                   "protocol": paho.MQTTv5 if FIVE else paho.MQTTv311}
        if not FIVE:
            options["clean_session"] = clean
        if hasattr(paho, "CallbackAPIVersion"):
            c = paho.Client(paho.CallbackAPIVersion.VERSION1, **options)
        else:
            c = paho.Client(**options)
        c.tls_set(CA, CERTIFICATE, KEY, cert_reqs=ssl.CERT_REQUIRED)
        c.tls_insecure_set(True)
        c.on_connect = lambda *a: self.events.put(("connect", a[2], a[3]))
        c.on_subscribe = lambda *a: self.events.put(("subscribe", a[3]))
        c.on_publish = lambda *a: self.events.put(("publish", a[2]))
        c.on_disconnect = lambda *a: self.events.put(("disconnect",))
        c.on_message = lambda _c, _u, m: self.heard.put(
            f"{m.topic[len(BASE) + 1:]} {m.qos} {int(m.retain)} {m.payload.decode()}")
        more = {}
        if FIVE:
            p = Properties(PacketTypes.CONNECT)
            p.SessionExpiryInterval = 0 if clean else 60
            more = {"clean_start": clean, "properties": p}
        self.client = c
        c.connect(HOST, 8883, 60, **more)
        c.loop_start()
        _, flags, code = self.wait("connect")
        if int(getattr(code, "value", code)) != 0:
            sys.exit(f"failed: connect: {code}")
        self.present = int(flags["session present"])

    def wait(self, what):
        while (event := self.events.get(timeout=6))[0] != what:
            pass
        return event

    def subscribe(self, suffix, qos):
        self.client.subscribe(f"{BASE}/{suffix}", qos)
        granted = [int(getattr(g, "value", g)) for g in self.wait("subscribe")[1]]
        if granted != [qos]:
            sys.exit(f"failed: subscribe: {granted}")

    def publish(self, suffix, text, qos, retain=False):
        self.client.publish(f"{BASE}/{suffix}", text, qos, retain)
        self.wait("publish")

    def take(self):
        print(self.heard.get(timeout=6), flush=True)

    def leave(self):
        self.client.disconnect()
        self.wait("disconnect")
        self.client.loop_stop()


one = Client("one")
one.subscribe("a", 2)
for qos in range(3):
    one.publish("a", "m", qos)
    one.take()
one.publish("r", "kept", 1, True)
one.subscribe("r", 1)
one.take()
one.publish("r", "", 1, True)
one.take()
two = Client("two", clean=False)
two.subscribe("p", 2)
two.leave()
one.publish("p", "later", 2)
two = Client("two", clean=False)
print("present", two.present)
two.take()
two.leave()
one.leave()
