"""The keyholder: the only process that has the node's private keys. It never sees a body.

It makes each key together with the evidence for it, so the front, which asks for both, can never
have evidence for a key that it knows. For a request it unwraps 64 secret bytes and passes them on
in a pipe that the front has no end of.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from cloud_node.tree.replay import ReplaySet
from lanai.errors import CloudRefused, RefusalCode
from trust.attestation.evidence import Attester, Evidence
from trust.attestation.report_data import report_data
from trust.envelope import EnvelopeHeader, NodeKey, OpenRequest, open_request

__all__ = ["KeyOffer", "Keyholder"]

# Clocks of devices may be a little behind; a bundle from their future would be refused.
BACKDATE_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOffer:
    """The public half of a key in service, the time it holds (Unix seconds), evidence for it."""

    public_key: bytes
    not_before: int
    expires_at: int
    evidence: tuple[Evidence, ...]

    @property
    def node_id(self) -> bytes:
        """SHA-256 of the public key: the node's name while this key serves."""
        return hashlib.sha256(self.public_key).digest()

    def to_message(self) -> dict[str, Any]:
        evidence = [[one.kind, one.payload] for one in self.evidence]
        return {
            "public_key": self.public_key,
            "not_before": self.not_before,
            "expires_at": self.expires_at,
            "evidence": evidence,
        }

    @classmethod
    def parse(cls, message: dict[str, Any]) -> "KeyOffer":
        evidence = tuple(Evidence(kind=kind, payload=data) for kind, data in message["evidence"])
        return cls(**{**message, "evidence": evidence})


@dataclass(frozen=True, slots=True, kw_only=True)
class _HeldKey:
    key: NodeKey
    tls_spki_sha256: bytes
    expires_at: int


class Keyholder:
    """``clock`` returns Unix seconds."""

    def __init__(
        self, attesters: Sequence[Attester], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._attesters = sorted(attesters, key=lambda attester: attester.kind)
        self._clock = clock
        self._replay = ReplaySet()
        self._held: dict[bytes, _HeldKey] = {}

    def offer(self, tls_spki_sha256: bytes, *, lifetime_s: int) -> KeyOffer:
        """A fresh key bound to the front's TLS key, attested, and held from now on.

        Raises what the attesters raise.
        """
        key = NodeKey.generate()
        not_before = int(self._clock()) - BACKDATE_S
        expires_at = not_before + lifetime_s
        bound = report_data(key.public_key, tls_spki_sha256, not_before, expires_at)
        evidence = tuple(attester.attest(bound) for attester in self._attesters)
        self.hold(key, tls_spki_sha256, expires_at=expires_at)
        return KeyOffer(
            public_key=key.public_key,
            not_before=not_before,
            expires_at=expires_at,
            evidence=evidence,
        )

    def hold(self, key: NodeKey, tls_spki_sha256: bytes, *, expires_at: int) -> None:
        """Answer for a key from now on."""
        self._held[key.node_id] = _HeldKey(
            key=key, tls_spki_sha256=tls_spki_sha256, expires_at=expires_at
        )

    def admit(self, header: EnvelopeHeader, node_id: bytes) -> OpenRequest:
        """The secrets of one request, once. The caller has burned its id in the store.

        Raises ``CloudRefused`` (``REPLAYED``, ``BUSY``, ``ENVELOPE_REJECTED``) and
        ``EnvelopeRejected``.

        1. The envelope is live, and the key is one of ours.
        2. The id is new to this process, whatever the store said.
        3. The wrapped key opens: everything outside the ciphertext is as it was sealed.
        """
        now = self._clock()
        # 1.
        header.require_live(now)
        held = self._held.get(node_id)
        if held is None or held.expires_at <= now:
            raise CloudRefused("no such key", refusal=RefusalCode.ENVELOPE_REJECTED)
        # 2.
        if not self._replay.admit(header.request_id, expires_at=header.expires_at, now=now):
            code = RefusalCode.BUSY if self._replay.full else RefusalCode.REPLAYED
            raise CloudRefused("not admitted", refusal=code)
        # 3.
        return open_request(header, held.key, tls_spki_sha256=held.tls_spki_sha256, now=now)

    def drop(self, node_id: bytes) -> None:
        """Let go of a key for good: nothing sealed to it opens any more. Idempotent."""
        self._held.pop(node_id, None)

    def drop_expired(self) -> None:
        """Let go of every key whose time is over."""
        now = self._clock()
        for node_id in [name for name, held in self._held.items() if held.expires_at <= now]:
            self.drop(node_id)
