# SPDX-License-Identifier: GPL-3.0-or-later
"""What the benches share: the lab and its devices, the machine's description, JSON, medians."""

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TREE, "tests/integration"))

from lab import Lab, Terminal, check  # noqa: E402

BUILD = os.path.abspath(os.environ.get("LAB_BUILD", os.path.join(TREE, "build")))
GATEWAY_ETC = "gw/etc/sallyport"


def first_line(*command):
    try:
        p = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except FileNotFoundError:
        return "none"
    return (p.stdout or p.stderr).strip().split("\n")[0]


def cpu_model():
    with open("/proc/cpuinfo") as f:
        found = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return found.group(1) if found else platform.machine()


def tss_version():
    return first_line("pkg-config", "--modversion", "tss2-esys")


def description(name, args):
    """Where, when and with what it was measured."""
    return {
        "bench": name,
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "machine": {"cpu": cpu_model(), "cores": os.cpu_count(), "kernel": platform.release(),
                    "load_before": os.getloadavg()[0]},
        "versions": {
            "sallyport": first_line("git", "-C", TREE, "describe", "--always", "--dirty"),
            "openssl": first_line("openssl", "version"), "tpm2-tss": tss_version(),
            "swtpm": first_line("swtpm", "--version"), "mosquitto": first_line("mosquitto", "-h"),
        },
        "parameters": {k: v for k, v in vars(args).items() if k != "json"},
    }


def parser(text):
    p = argparse.ArgumentParser(description=text.splitlines()[0])
    p.add_argument("--quick", action="store_true", help="few, small runs: does it work at all")
    p.add_argument("--json", metavar="FILE", help="write all figures down")
    return p


def write_json(path, result):
    if path:
        with open(path, "w") as f:
            json.dump(result, f, indent=2)
            f.write("\n")


def table(rows):
    widths = [max(len(str(r[i])) for r in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(c).ljust(w) if i == 0 else str(c).rjust(w)
                        for i, (c, w) in enumerate(zip(row, widths))))
    sys.stdout.flush()


class BenchLab(Lab):
    """A lab that is up; close() gives it back as it was."""

    def __init__(self):
        super().__init__(Terminal(open(os.devnull, "w")))
        check(os.path.isdir(self.pki), "no lab is up")
        self.made = []

    def write(self, name, text):
        """A file of the gateway's configuration."""
        path = os.path.join(self.dir, GATEWAY_ETC, name)
        if path not in self.made:
            self.made.append(path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as f:
            f.write(text)
        os.chmod(path, 0o644)

    def devices(self, count, of="sensor"):
        """bench0, bench1, ... of a class: known by their certificates, wherever they come from."""
        for i in range(count):
            self.write(f"devices.d/bench{i}.conf",
                       f"[Device]\nZone=field\nClass={of}\nCertificateName=bench{i}\n")

    def command(self, *argv, **environment):
        """One of the lab's own commands."""
        p = subprocess.run([os.path.join(TREE, "tests/lab/lab"), *argv], capture_output=True,
                           text=True, timeout=120, env={**os.environ, **environment})
        check(p.returncode == 0, f"lab {' '.join(argv)}: {p.stderr.strip()[-500:]}")

    def status(self):
        """Reading it begins a new measurement of the loop's gaps."""
        return json.loads(self.run("gw", "sallyportctl", "status", "--json", quiet=True).stdout)

    def cpu(self, command):
        """CPU time in ms that a process on the gateway has used, and how long it was ready to run
        while others ran: of the pid that `command` prints."""
        text = self.run("gw", "bash", "-c", f"cat /proc/$({command})/task/*/schedstat",
                        quiet=True).stdout
        return [sum(int(line.split()[i]) for line in text.splitlines()) / 1e6 for i in (0, 1)]

    def take_back(self):
        """The files that were written."""
        for path in self.made:
            os.remove(path)
        self.made = []

    def give_back(self):
        self.close()
        self.take_back()
