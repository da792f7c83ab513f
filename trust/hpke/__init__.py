"""HPKE (RFC 9180, base mode) with streaming contexts and an exporter.

Trusts `cryptography` for every primitive; what is here is the order of the calls. Beside the
library's single-shot API, which the envelope's wrapped keys use, since a chunked OHTTP message
needs sequence numbers and an exported secret, and that API gives neither.
Refuses, with ``EnvelopeRejected``, keys and ciphertexts of the wrong size or that do not open.

What the caller must still do: use a context for one message, and verify the public key first.
"""

from trust.hpke.aead import AES_128_GCM, AES_256_GCM, CHACHA20_POLY1305, EXPORT_ONLY, Aead
from trust.hpke.context import Opener, Sealer, Suite
from trust.hpke.dh_kem import P256, X25519, DhKem
from trust.hpke.kdf import HKDF_SHA256, HKDF_SHA512, Hkdf
from trust.hpke.kem import Encapsulated, Kem, PrivateKey
from trust.hpke.x_wing import X_WING, XWing, XWingPrivateKey

__all__ = [
    "AES_128_GCM",
    "AES_256_GCM",
    "CHACHA20_POLY1305",
    "EXPORT_ONLY",
    "HKDF_SHA256",
    "HKDF_SHA512",
    "P256",
    "X25519",
    "X_WING",
    "Aead",
    "DhKem",
    "Encapsulated",
    "Hkdf",
    "Kem",
    "Opener",
    "PrivateKey",
    "Sealer",
    "Suite",
    "XWing",
    "XWingPrivateKey",
]
