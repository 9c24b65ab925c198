# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab (tests/lab) in the hands of the story: runs commands on nodes, shows them, and sees
what arrives upstream and what the gateway's journal says."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time

TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOLS = os.path.join(TREE, "tests/tools")
DIM, BOLD, RED, GREEN, PLAIN = "2", "1", "31", "32", "0"


class Failure(Exception):
    """A step did not do what it has to."""


class Terminal:
    """Words and colours: colours on a terminal only, and not where NO_COLOR is set."""

    def __init__(self, stream=sys.stdout):
        self.stream = stream
        self.coloured = stream.isatty() and "NO_COLOR" not in os.environ

    def line(self, text, colour=PLAIN):
        if self.coloured and colour != PLAIN:
            text = f"\033[{colour}m{text}\033[0m"
        print(text, file=self.stream, flush=True)


class Lab:
    def __init__(self, terminal):
        self.terminal = terminal
        self.name = os.environ.get("LAB_NAME", "lab")
        self.dir = os.path.join(os.environ.get("LAB_DIR", "/run/sallyport-lab"), self.name)
        self.pki = os.path.join(self.dir, "pki")
        self.background = []
        # Commands run in other directories than this one.
        if "LAB_BUILD" in os.environ:
            os.environ["LAB_BUILD"] = os.path.abspath(os.environ["LAB_BUILD"])

    # --- words ---

    def say(self, text):
        self.terminal.line(f"    {text}")

    def show(self, node, argv):
        words = [w.replace(TOOLS + "/", "") for w in argv]
        self.terminal.line(f"    {node}$ {shlex.join(words)}", DIM)

    def show_lines(self, text, most=12):
        lines = text.rstrip().splitlines()
        for line in lines[:most]:
            self.terminal.line(f"      {line}", DIM)
        if len(lines) > most:
            self.terminal.line(f"      ... {len(lines) - most} lines more", DIM)

    # --- commands ---

    def _argv(self, node, argv):
        return [os.path.join(TREE, "tests/lab/lab"), "exec", node, *argv]

    def _where(self, node):
        # Devices work where their keys are; the gateway has a /run of its own.
        return "/" if node == "gw" else self.pki

    def run(self, node, *argv, timeout=30, quiet=False, ok=True, input=None):
        """Runs a command on a node to its end; fails the step where it fails, unless not `ok`."""
        if not quiet:
            self.show(node, argv)
        try:
            p = subprocess.run(self._argv(node, argv), cwd=self._where(node), input=input,
                               capture_output=True, text=True, timeout=timeout, errors="replace")
        except subprocess.TimeoutExpired:
            raise Failure(f"{argv[0]} on {node} did not end within {timeout} s") from None
        if ok and p.returncode != 0:
            raise Failure(f"{argv[0]} on {node} ended with {p.returncode}: "
                          f"{(p.stderr or p.stdout).strip()[-600:]}")
        return p

    def start(self, node, *argv, quiet=False, **files):
        """Starts a command that goes on; stop() or the end of the story ends it."""
        if not quiet:
            self.show(node, argv)
        p = subprocess.Popen(self._argv(node, argv), cwd=self._where(node), text=True,
                             **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                                "stderr": subprocess.STDOUT, **files}, start_new_session=True)
        self.background.append(p)
        return p

    def listen(self, node, *argv, **files):
        """Starts one of our tools that says "ready" when it stands."""
        p = self.start(node, *argv, quiet=True, **files)
        if p.stdout.readline().strip() != "ready":
            raise Failure(f"{argv[0]} on {node} does not start: {p.stdout.read()}")
        return p

    def stop(self, process):
        """Ends it and everything that it started, and hands out what it printed since."""
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        out, _ = process.communicate(timeout=10)
        if process in self.background:
            self.background.remove(process)
        return out or ""

    def service(self, verb, name):
        """start, stop or kill one of the lab's services."""
        self.terminal.line(f"    lab {verb} {name}", DIM)
        p = subprocess.run([os.path.join(TREE, "tests/lab/lab"), verb, name],
                           capture_output=True, text=True, timeout=60)
        if p.returncode != 0:
            raise Failure(f"lab {verb} {name}: {p.stderr.strip()}")

    def close(self):
        for p in list(self.background):
            self.stop(p)

    # --- what is seen ---

    def arrived(self):
        """What arrived upstream so far: (topic, QoS, payload)."""
        messages = []
        with open(os.path.join(self.dir, "log/tap.log")) as f:
            for line in f:
                words = line.rstrip("\n").split(" ")
                # A line that is being written, or a word from mosquitto_sub itself, is none.
                if line.endswith("\n") and len(words) == 3 and words[1].isdigit():
                    messages.append((words[0], int(words[1]), bytes.fromhex(words[2])))
        return messages

    def wait_arrived(self, matches, what, timeout=10):
        """The first message upstream that `matches(topic, payload)`."""
        found = wait_until(lambda: [m for m in self.arrived() if matches(m[0], m[2])], timeout)
        if not found:
            raise Failure(f"{what} does not arrive upstream within {timeout} s")
        return found[0]

    def journal(self, **fields):
        """The gateway's journal entries with these fields, oldest first."""
        p = self.run("gw", "journalctl", "--quiet", "--no-pager", "--output=json",
                     *(f"{k}={v}" for k, v in fields.items()), quiet=True)
        return [json.loads(line) for line in p.stdout.splitlines()]

    def wait_journal(self, what, timeout=5, **fields):
        found = wait_until(lambda: self.journal(**fields), timeout)
        if not found:
            raise Failure(f"the journal does not tell {what}")
        return found[-1]

    def counter(self, node, name):
        """Packets that a named nft counter of table `inet story` saw on a node."""
        p = self.run(node, "nft", "-j", "list", "counter", "inet", "story", name, quiet=True)
        return next(o["counter"]["packets"] for o in json.loads(p.stdout)["nftables"]
                    if "counter" in o)


def wait_until(condition, timeout):
    """The first true value of condition(), or the last false one."""
    deadline = time.monotonic() + timeout
    while not (value := condition()) and time.monotonic() < deadline:
        time.sleep(0.05)
    return value


def check(condition, message):
    if not condition:
        raise Failure(message)
