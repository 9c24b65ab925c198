# SPDX-License-Identifier: GPL-3.0-or-later
"""What a case expects to come: packets as dictionaries, whose values are values, ANY, several that are
right, or a function of what came."""

import wire


class ANY:
    """A field that may have any value."""


TAKEN = (0x00, 0x10)  # success, or success without a subscriber


def connack(present=0, code=0, **props):
    """Properties that are not named may stand there; None: must not."""
    return {"type": "CONNACK", "flags": present, "code": code, "some": props}


def pub(topic, payload=b"x", qos=0, id=ANY, retain=0, dup=0, **props):
    return {"type": "PUBLISH", "topic": topic, "payload": payload if isinstance(payload, bytes)
            else payload.encode(), "qos": qos, "id": id if qos else None, "retain": retain,
            "dup": dup, "properties": props}


def acked(kind):
    def pattern(id, code=TAKEN if kind in ("PUBACK", "PUBREC") else 0):
        return {"type": kind, "id": id, "code": code}
    return pattern


puback, pubrec, pubrel, pubcomp = (acked(k) for k in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"))


def suback(id, *codes):
    return {"type": "SUBACK", "id": id, "codes": list(codes)}


def unsuback(id, *codes):
    return {"type": "UNSUBACK", "id": id, "codes": list(codes)}


PONG = {"type": "PINGRESP"}


def same(expected, came):
    if expected is ANY:
        return True
    if callable(expected):
        try:
            return expected(came)
        except TypeError:  # of nothing
            return False
    if isinstance(expected, (tuple, set, range)) and not isinstance(came, tuple):
        return came in expected
    return expected == came


def in_version(pattern, c):
    """3.1.1 has no properties, no reason codes in acknowledgements, and one code of failure."""
    p = dict(pattern)
    if "topic" in p and not callable(p["topic"]):
        p["topic"] = wire.marked(p["topic"], c).decode()
    if c.version == 5:
        props = p.get("properties", {})
        if "response_topic" in props:
            props = {**props, "response_topic": wire.marked(props["response_topic"], c).decode()}
            p["properties"] = props
        return p
    p.pop("some", None)
    if p["type"] in ("PUBACK", "PUBREC", "PUBREL", "PUBCOMP"):
        p.pop("code", None)
    if p["type"] == "UNSUBACK":
        p.pop("codes", None)
    if p["type"] == "SUBACK":
        p["codes"] = [0x80 if isinstance(code, int) and code >= 0x80 else code
                      for code in p["codes"]]
    return p


def differs(pattern, came):
    """What is wrong with it, or nothing."""
    wrong = [k for k, v in pattern.items() if k not in ("some", "codes", "properties") and
             not same(v, came.get(k))]
    if "properties" in pattern:  # these and no others
        here, there = pattern["properties"], came.get("properties", {})
        wrong += [n for n in {**here, **there} if not same(here.get(n), there.get(n))]
    for name, value in pattern.get("some", {}).items():
        if not same(value, came["properties"].get(name)):
            wrong.append(name)
    if "codes" in pattern and (len(came.get("codes", [])) != len(pattern["codes"]) or not all(
            same(e, v) for e, v in zip(pattern["codes"], came["codes"]))):
        wrong.append("codes")
    return wrong


def words(p):
    """A packet or a pattern in one line."""
    def value(v):
        if v is ANY:
            return "any"
        if callable(v):
            return getattr(v, "words", "as computed")
        if isinstance(v, bytes):
            return repr(v) if len(v) < 60 else f"{len(v)} bytes"
        if isinstance(v, str):
            return v if len(v) < 60 else f"{v[:20]}... ({len(v)})"
        return hex(v) if isinstance(v, int) and v > 9 else str(v)
    fields = [f"{k}={value(v)}" for k, v in p.items()
              if k not in ("type", "properties", "some") and v is not None]
    more = {**p.get("properties", {}), **p.get("some", {})}
    return " ".join([p["type"], *fields, *(f"{k}={value(v)}" for k, v in more.items())])
