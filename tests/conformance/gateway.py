# SPDX-License-Identifier: GPL-3.0-or-later
"""The daemon of the lab as the cases see it: which process it is, what it holds, what it relays; and
the devices on which they run side by side."""

import contextlib
import os
import ssl
import subprocess
import threading

from connection import PEER
from lab import TREE, Failure

# As the lab's class "sensor", but nobody is slowed down: how fast a device may send is no matter of
# the standard, and a flood is to be one.
CLASS = """[Class conformance]
Attestation=none
ClientIds=%d %d/*
MessagesPerSecond=1000000
BytesPerSecond=1G
MaximumSessions=8
"""
DEVICE = """[Device]
Zone=field
Class=conformance
CertificateName={name}
"""


class Device:
    def __init__(self, lab, name):
        self.name = name
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.tls.load_verify_locations(os.path.join(lab.pki, "operator.pem"))
        self.tls.check_hostname = False
        self.tls.load_cert_chain(*(os.path.join(lab.pki, name + e) for e in (".pem", ".key")))


def write(path, text):
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    os.chmod(path, 0o644)


@contextlib.contextmanager
def devices(lab, count):
    """So many devices, for as long as it takes; of another server's none but their certificates."""
    etc = os.path.join(lab.dir, "gw/etc/sallyport")
    files = {os.path.join(etc, "sallyport.conf.d/conformance.conf"): CLASS}
    names = [f"c{i}" for i in range(1, count + 1)]
    for name in names:
        subprocess.run([os.path.join(TREE, "tests/lab/pki"), lab.pki, "device", name], check=True)
        files[os.path.join(etc, f"devices.d/{name}.conf")] = DEVICE.format(name=name)
    try:
        if not PEER:
            for path, text in files.items():
                write(path, text)
            lab.run("gw", "sallyportctl", "reload", quiet=True)
        yield [Device(lab, name) for name in names]
    finally:
        for path in filter(os.path.exists, files):
            os.unlink(path)
        if not PEER:
            lab.run("gw", "sallyportctl", "reload", quiet=True)


class Gateway:
    """`process`: number and start of the daemon that is known; another one has the latter otherwise."""

    def __init__(self, lab):
        self.lab, self.lock = lab, threading.RLock()
        self.tap, self.relayed = os.path.join(lab.dir, "log/tap.log"), {}
        self.tap_at = 0 if PEER else os.path.getsize(self.tap)
        self.process = None if PEER else self.find()

    def find(self):
        here = os.stat(f"/run/netns/sallyport-{self.lab.name}-gw").st_ino
        for number in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                said = self.stat(number)
                if said and os.stat(f"/proc/{number}/ns/net").st_ino == here:
                    return int(number), said
        raise Failure("no sallyportd runs")

    @staticmethod
    def stat(number):
        """When the daemon with this number was started: nothing where it has ended."""
        with open(f"/proc/{number}/stat") as f:
            name, fields = f.read().rsplit(")", 1)
        fields = fields.split()
        return name.endswith("(sallyportd") and fields[0] not in "ZX" and fields[19]

    def alive(self):
        if PEER:
            return True
        try:
            return self.stat(self.process[0]) == self.process[1]
        except OSError:
            return False

    def revive(self):
        """One that has ended is started, for the next case."""
        with self.lock:
            if not self.alive():
                self.lab.service("start", "daemon")
                self.process = self.find()

    def restart(self, verb="kill"):
        with self.lock:
            self.lab.service(verb, "daemon")
            self.lab.service("start", "daemon")
            self.process = self.find()

    @contextlib.contextmanager
    def frugal(self):
        """A daemon that keeps nothing of what it has freed: a sanitizer would, to recognize it. It ends
        as it is told to, so that a sanitizer tells what was leaked before and meanwhile."""
        before = os.environ.get("ASAN_OPTIONS", "")
        os.environ["ASAN_OPTIONS"] = f"{before}:quarantine_size_mb=0:thread_local_quarantine_size_kb=0"
        try:
            self.restart("stop")
            yield
        finally:
            os.environ["ASAN_OPTIONS"] = before
            self.restart("stop")

    def memory(self, what):
        """What it holds (VmRSS), in kB; or another line of /proc/PID/status."""
        if PEER:
            return 0
        with open(f"/proc/{self.process[0]}/status") as f:
            return next(int(line.split()[1]) for line in f if line.startswith(what + ":"))

    def arrived(self, topic):
        """The payloads that came upstream under this topic."""
        with self.lock:
            with open(self.tap, "rb") as f:
                f.seek(self.tap_at)
                whole, end, _ = f.read().rpartition(b"\n")
            self.tap_at += len(whole) + len(end)
            for line in whole.decode().split("\n"):
                words = line.split(" ")
                if len(words) == 3 and words[1].isdigit():
                    self.relayed.setdefault(words[0], set()).add(bytes.fromhex(words[2]))
            return set(self.relayed.get(topic, ()))
