"""What evidence is bound to: a node's keys and how long they hold."""

from hashlib import sha256

__all__ = ["report_data"]

_DOMAIN = b"lanai report data v1\x00"


def report_data(
    hpke_public_key: bytes, tls_spki_sha256: bytes, not_before: int, expires_at: int
) -> bytes:
    """SHA-256 (32 bytes) that an attester signs over and a verifier expects.

    Each variable part enters as its hash, so no byte can move between two parts. Times are unix
    seconds.
    """
    window = not_before.to_bytes(8, "big") + expires_at.to_bytes(8, "big")
    keys = sha256(hpke_public_key).digest() + sha256(tls_spki_sha256).digest()
    return sha256(_DOMAIN + keys + window).digest()
