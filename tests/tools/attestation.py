# SPDX-License-Identifier: GPL-3.0-or-later
"""What psa-token, corim-make and verify-report share. Needs python3-cbor2 and
python3-cryptography, which have nothing in common with the code under test."""

import hashlib

import cbor2
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

# The implementation that the lab's devices are of, and who signs their firmware.
IMPLEMENTATION_ID = hashlib.sha256(b"sallyport test implementation").digest()
SIGNER_ID = hashlib.sha256(b"sallyport test firmware signer").digest()


def canonical(item):
    return cbor2.dumps(item, canonical=True)


def private_key(path):
    with open(path, "rb") as f:
        return serialization.load_pem_private_key(f.read(), None)


def public_key(path):
    with open(path, "rb") as f:
        return serialization.load_pem_public_key(f.read())


def public_pem(key):
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def spki(key):
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def instance_id(key):
    """The Instance ID as TF-M makes it: over the uncompressed point of the IAK."""
    point = key.public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    return b"\x01" + hashlib.sha256(point).digest()


def sign1(protected, payload, key):
    """COSE_Sign1 with ES256."""
    header = canonical(protected)
    tbs = canonical(["Signature1", header, b"", payload])
    r, s = decode_dss_signature(key.sign(tbs, ec.ECDSA(hashes.SHA256())))
    signature = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    return canonical(cbor2.CBORTag(18, [header, {}, payload, signature]))


def hex_bytes(text):
    return bytes.fromhex(text.replace(":", ""))


def component(text):
    """name=BL,version=1.0,digest=HEX,signer=HEX; file=PATH instead of digest measures a file."""
    parts = dict(part.split("=", 1) for part in text.split(",") if part)
    unknown = set(parts) - {"name", "version", "digest", "file", "signer"}
    if unknown:
        raise ValueError("component: what is %s?" % ", ".join(sorted(unknown)))
    if "file" in parts:
        with open(parts["file"], "rb") as f:
            digest = hashlib.sha256(f.read()).digest()
    elif "digest" in parts:
        digest = hex_bytes(parts["digest"])
    else:
        raise ValueError("component: digest= or file= is needed")
    signer = hex_bytes(parts["signer"]) if "signer" in parts else SIGNER_ID
    return {"name": parts.get("name"), "version": parts.get("version"),
            "digest": digest, "signer": signer}
