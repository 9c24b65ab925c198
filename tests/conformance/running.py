# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the cases: side by side, each on a device of its own, because most of their time they wait.
Those that have the daemon killed meet at that point, and it is killed once for all of them. Those that
look at what the daemon holds run alone."""

import contextlib
import json
import queue
import threading
import time
import traceback

import clients
from connection import PEER
from exchange import Run
from lab import BOLD, GREEN, RED, Failure, Lab
from suite import title

WORKERS = 8


class Quiet:
    """The lab's terminal: each case says one line, in the end."""

    def line(self, text, colour=None):
        pass


class Report:
    def __init__(self, terminal):
        self.terminal, self.lock, self.results = terminal, threading.Lock(), []

    def add(self, number, case, result, seconds, text):
        with self.lock:
            self.results.append({"name": f"conformance {number}: {title(case)}", "result": result,
                                 "duration": round(seconds, 3)})
            if result == "OK":
                self.terminal.line(f"{number}. {title(case)}: ok", GREEN)
                return
            self.terminal.line(f"{number}. {title(case)}: {'skipped' if result == 'SKIP' else 'FAILED'}: "
                               f"{text}", BOLD if result == "SKIP" else RED)
            if result != "SKIP" and case.statements:
                self.terminal.line(f"    {' '.join(f'[MQTT-{s}]' for s in case.statements)}")

    def fail(self, text):
        """Something that is no case's."""
        self.results.append({"name": f"conformance: {text}", "result": "FAIL", "duration": 0})

    def bad(self):
        return [r for r in self.results if r["result"] not in ("OK", "SKIP")]

    def write(self, path):
        with open(path, "w") as f:
            f.writelines(json.dumps(r) + "\n" for r in self.results)

    def end(self):
        skipped = [r["name"] for r in self.results if r["result"] == "SKIP"]
        for heading, names in (("skipped", skipped), ("failed", [r["name"] for r in self.bad()])):
            if names:
                self.terminal.line(f"\n{heading}:", BOLD)
            for name in names:
                self.terminal.line(f"  {name}", RED)
        self.terminal.line(f"\nconformance: {len(self.results)} cases, {len(self.bad())} failed"
                           f"{f', {len(skipped)} skipped' if skipped else ''}",
                           RED if self.bad() else GREEN)


def counted(report, number, case, perform):
    """Performs it, and enters what came of it."""
    began, result, text = time.monotonic(), "OK", ""
    try:
        perform()
    except clients.Skipped as e:
        result, text = "SKIP", str(e)
    except Failure as e:
        result, text = "FAIL", str(e)
    except Exception:  # the suite itself broke: that is no pass either
        result, text = "ERROR", traceback.format_exc()
    report.add(number, case, result, time.monotonic() - began, text)


def judged(run):
    """A run of a case, and what it did to the daemon."""
    wrong = []
    try:
        run.perform()
    except Failure as e:
        wrong.append(f"{e}\n      what was sent and heard, the last of it:")
        wrong += [f"        {line}" for line in run.transcript[-14:]]
    if not run.gateway.alive():
        wrong.append("      the daemon has ended, while this case and perhaps others ran")
        run.gateway.revive()
    elif run.gateway.process != run.process:
        wrong.append("      the daemon is another process than before")
    try:
        run.clean()
    except Failure as e:
        wrong.append(f"      {e}")
    if wrong:
        raise Failure("\n".join(wrong))


def at_once(parts):
    """Runs these functions, each in a thread."""
    threads = [threading.Thread(target=part, daemon=True) for part in parts]
    for t in threads:
        t.start()
    for t in threads:
        t.join()


def side_by_side(gateway, devices, report, cases):
    """The longest first: in the end all devices are done at about the same time."""
    waiting = queue.SimpleQueue()
    for pair in sorted(cases, key=lambda pair: -pair[1].seconds):
        waiting.put(pair)

    def work(device):
        while True:
            try:
                number, case = waiting.get_nowait()
            except queue.Empty:
                return
            counted(report, number, case, lambda: judged(Run(gateway, device, case)))
    return [lambda d=d: work(d) for d in devices]


class Meeting:
    """So many cases that want the daemon killed. Who fails before that comes too: the others wait."""

    def __init__(self, gateway, count):
        self.barrier = threading.Barrier(count, action=gateway.restart)

    def run(self, run):
        come = []

        def meet():
            come.append(True)
            try:
                self.barrier.wait(timeout=60)
            except threading.BrokenBarrierError:
                raise Failure("the daemon was not killed and started again") from None
        run.restarter = meet
        try:
            judged(run)
        finally:
            if not come:
                meet()


def killed_together(gateway, devices, report, cases):
    for i in range(0, len(cases), len(devices)):
        some = cases[i:i + len(devices)]
        meeting = Meeting(gateway, len(some))
        at_once([lambda n=n, c=c, d=d: counted(report, n, c, lambda: meeting.run(Run(gateway, d, c)))
                 for (n, c), d in zip(some, devices)])


def programs(gateway, lab, report, cases):
    """Other people's, one after the other, as dev1."""
    def perform(case):
        process = gateway.process
        case(lab)
        if not gateway.alive() or gateway.process != process:
            gateway.revive()
            raise Failure("the daemon has ended")
    for number, case in cases:
        counted(report, number, case, lambda: perform(case))
        lab.close()


def run_all(gateway, devices, report, cases):
    others = [(n, c) for n, c in cases if not hasattr(c, "steps")]
    ours = [(n, c) for n, c in cases if hasattr(c, "steps")]
    alone = [(n, c) for n, c in ours if c.alone]
    killed = [(n, c) for n, c in ours if c.restarts and not PEER]  # there they fail at once
    rest = [(n, c) for n, c in ours if (n, c) not in alone + killed]
    at_once([*side_by_side(gateway, devices, report, rest),
             lambda: programs(gateway, Lab(Quiet()), report, others)])
    killed_together(gateway, devices, report, killed)
    if alone:
        with contextlib.nullcontext() if PEER else gateway.frugal():
            at_once(side_by_side(gateway, devices[:1], report, alone))
