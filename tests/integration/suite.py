# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the steps of a suite on a lab that is up, each on its own, and keeps count."""

import argparse
import json
import os
import sys
import time
import traceback

from lab import BOLD, GREEN, RED, Failure, Lab, Terminal


def title(step):
    return step.__doc__.strip().splitlines()[0]


def run_step(lab, suite, number, step, perform):
    lab.terminal.line(f"\n{number}. {title(step)}", BOLD)
    began = time.monotonic()
    result = "OK"
    try:
        perform(step)
        lab.terminal.line("    ok", GREEN)
    except Failure as e:
        result = "FAIL"
        lab.terminal.line(f"    FAILED: {e}", RED)
    except Exception:  # the suite itself broke: that is no pass either
        result = "ERROR"
        lab.terminal.line(f"    FAILED: {traceback.format_exc()}", RED)
    finally:
        lab.close()
    return {"name": f"{suite} {number}: {title(step)}", "result": result,
            "duration": round(time.monotonic() - began, 3)}


def main(suite, text, steps, prepare):
    """`prepare(lab)` hands out what performs a step. The exit status of the program."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--results")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("steps", nargs="*", type=int)
    args = parser.parse_args()

    chosen = [(n, s) for n, s in enumerate(steps, 1) if not args.steps or n in args.steps]
    if args.list:
        for number, step in chosen:
            print(f"{number}. {title(step)}")
        return 0

    lab = Lab(Terminal())
    if not os.path.isdir(lab.pki):
        print(f"{suite}: the lab \"{lab.name}\" is not up: tests/lab/lab up", file=sys.stderr)
        return 1
    perform = prepare(lab)
    results = [run_step(lab, suite, number, step, perform) for number, step in chosen]
    failed = sum(r["result"] != "OK" for r in results)
    if args.results:
        with open(args.results, "w") as f:
            f.writelines(json.dumps(r) + "\n" for r in results)
    lab.terminal.line(f"\n{suite}: {len(results)} steps, {failed} failed",
                      RED if failed else GREEN)
    return 1 if failed or not results else 0
