# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of the story about a changed configuration: all of it takes effect, or nothing."""

import contextlib
import os
import re
import subprocess

from lab import check, wait_until

@contextlib.contextmanager
def changed(lab, name, change):
    """A file of the gateway's configuration with other content, for as long as it takes."""
    path = os.path.join(lab.dir, "gw/etc/sallyport", name)
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    before = None
    if os.path.exists(path):
        with open(path) as f:
            before = f.read()
    content = change(before or "")
    try:
        if content is None:
            os.unlink(path)
        else:
            with open(path, "w") as f:
                f.write(content)
            os.chmod(path, 0o644)
        yield
    finally:
        if before is None:
            os.unlink(path)
        else:
            with open(path, "w") as f:
                f.write(before)
            os.chmod(path, 0o644)


DROP_IN = "sallyport.conf.d/settings.conf"


@contextlib.contextmanager
def configured(lab, text):
    """The lab's configuration with more, for as long as it takes: what a reload puts in force."""
    try:
        with changed(lab, DROP_IN, lambda _: text):
            lab.run("gw", "sallyportctl", "reload")
            yield
    finally:
        lab.run("gw", "sallyportctl", "reload")


def reload(lab, expect=None):
    """Reloads; with `expect` it has to be refused with these words."""
    p = lab.run("gw", "sallyportctl", "reload", ok=expect is None)
    if expect is None:
        return
    lab.show_lines(p.stderr)
    check(p.returncode == 1, f"sallyportctl reload ended with {p.returncode}")
    check(expect in p.stderr, f"it does not say {expect}")


def connections(lab, address):
    """The TCP connections with an address that stand on the gateway, by the peer's end."""
    p = lab.run("gw", "ss", "-Htn", "state", "established", quiet=True)
    peers = {line.split()[3] for line in p.stdout.splitlines()}
    return {peer for peer in peers if address in re.split(r"[\[\]:]", peer)}


def refused_as_a_whole(lab, device):
    """What is wrong, what takes a restart, what the kernel refuses: nothing changes."""
    before = connections(lab, "10.10.0.11")
    without_dev1 = changed(lab, "devices.d/dev1.conf", lambda text: None)
    with changed(lab, "devices.d/dev2.conf", lambda text: text + "Colour=red\n"), without_dev1:
        reload(lab, "has errors")
    other_name = "[Gateway]\nName=other\n[MQTT]\nMaximumPacketSize=64K\n"
    with changed(lab, "sallyport.conf.d/other.conf", lambda _: other_name):
        reload(lab, "[Gateway] Name=, [MQTT] MaximumPacketSize=")
    with changed(lab, "devices.d/dev1.conf", lambda text: None), table_of_another(lab):
        reload(lab, "the packet filter does not take it")
    reload(lab)
    check(device(lab, "dev1")["sessions"] == 1 and before == connections(lab, "10.10.0.11"),
          "dev1's session did not last")


@contextlib.contextmanager
def table_of_another(lab):
    """Another program owns a table of our name: the kernel refuses ours."""
    lab.run("gw", "nft", "delete", "table", "inet", "sallyport")
    owner = lab.start("gw", "nft", "-i", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    owner.stdin.write("add table inet sallyport { flags owner; }\n")
    owner.stdin.flush()
    check(wait_until(lambda: "flags owner" in lab.run("gw", "nft", "list", "ruleset",
                                                      quiet=True).stdout, 5), "nft owns no table")
    try:
        yield
    finally:
        owner.stdin.close()
        owner.stdin = None
        owner.wait(timeout=10)


def removed_device(lab, subscriber, ruleset):
    """A device that is gone loses its session and its place in the filter at once."""
    check("10.10.0.11" in ruleset(lab), "the filter does not know dev1")
    # Not whether the client ends: from 2.0.21 on mosquitto_sub tries again.
    before = connections(lab, "10.10.0.11")
    check(before and subscriber.poll() is None, "dev1 has no connection")
    with changed(lab, "devices.d/dev1.conf", lambda text: None):
        reload(lab)
        said = lab.journal(DEVICE="dev1")[-4:]
        check(any("no longer configured" in e["MESSAGE"] for e in said),
              "the journal does not tell that dev1 is gone")
        check(wait_until(lambda: not before & connections(lab, "10.10.0.11"), 5),
              "dev1's session goes on")
        check("10.10.0.11" not in ruleset(lab), "the filter still has dev1's address")
        p = lab.run("gw", "sallyportctl", "why", "dev1", ok=False)
        check(p.returncode == 1, "why still knows dev1")
    lab.stop(subscriber)


def in_quarantine(rules, address="10.20.0.12"):
    """Is a device (dev2) in the set of those that are closed?"""
    return re.search(r"set quarantined4 \{[^}]*elements[^}]*" + re.escape(address), rules)


def reloads(lab):
    return sum(e["MESSAGE"].startswith("Reloaded") for e in lab.journal(PRIORITY="6"))


def quarantine_survives(lab, device, post, ruleset):
    """In the kernel, at the door and over a reload."""
    lab.run("gw", "sallyportctl", "quarantine", "dev2", "smells of smoke")
    check(in_quarantine(ruleset(lab)), "the filter does not have dev2 in quarantine")
    before = len(lab.journal(DEVICE="dev2", REASON="denied"))
    refused = lab.run("dev2", *post, ok=False)
    check(refused.stderr.startswith("4.03"), f"its telemetry is answered {refused.stderr}")
    entries = wait_until(lambda: lab.journal(DEVICE="dev2", REASON="denied")[before:], 5)
    check(entries, "the journal does not tell that its telemetry was denied")
    lab.say(f"journal: {entries[-1]['MESSAGE']}")
    before = reloads(lab)
    lab.run("gw", "bash", "-c", "kill -HUP $(cat /run/daemon.pid)")
    check(wait_until(lambda: reloads(lab) > before, 5), "SIGHUP does not reload")
    why = device(lab, "dev2")
    check(why["quarantined"] and why["quarantine_reason"] == "smells of smoke",
          "the quarantine is gone after a reload")
    check(in_quarantine(ruleset(lab)), "the filter lost dev2's quarantine in a reload")
    lab.run("gw", "sallyportctl", "release", "dev2")
    check(wait_until(lambda: not in_quarantine(ruleset(lab)), 2), "the filter does not release")
    check(not device(lab, "dev2")["quarantined"], "dev2 is not released")
