"""From a node's bundle to a verified node: the one place that decides whom the device seals to."""

import time
from collections.abc import Callable, Sequence
from dataclasses import InitVar, dataclass, field
from typing import NoReturn

from lanai.errors import EvidenceRejected, Rejection, TrustError
from trust.attestation.evidence import Claims
from trust.attestation.policy import EvidencePolicy
from trust.attestation.release import Release
from trust.attestation.report_data import report_data
from trust.bundle import Checkpoint, NodeBundle
from trust.certificate import NodeCertificate
from trust.logged import LogVerifier
from trust.root import TrustRoot
from trust.witnessed import MAX_CLOCK_SKEW_S

__all__ = ["NodeVerifier", "VerifiedNode"]

_BUILT_BY_VERIFIER = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedNode:
    """A node that passed every step of `NodeVerifier.verify`. Nothing else can build one.

    ``evidence_kind`` names the kinds of evidence that were judged, ascending, joined by ``+``.
    ``measurement`` is the release's digest (hex), ``weights`` its digest of the model's folder,
    ``checkpoint_hash`` the SHA-256 of the text of the checkpoint, ``checkpoint_note`` the signed
    note it came in. Times are unix seconds.
    """

    node_id: bytes
    hpke_public_key: bytes = field(repr=False)
    tls_certificate: bytes = field(repr=False)
    tls_spki_sha256: bytes
    evidence_kind: str
    measurement: str
    weights: str
    model: str
    context_tokens: int
    checkpoint: Checkpoint
    checkpoint_hash: bytes
    checkpoint_note: bytes = field(repr=False)
    expires_at: int
    built_by: InitVar[object] = None

    def __post_init__(self, built_by: object) -> None:
        if built_by is not _BUILT_BY_VERIFIER:
            raise TypeError("a VerifiedNode comes from NodeVerifier.verify only")

    def __reduce__(self) -> NoReturn:
        # Pickling and copying would make one without the verifier.
        raise TypeError("a VerifiedNode is not copied or stored: verify the bundle again")


class NodeVerifier:
    """Judges node bundles by a trust root.

    ``clock`` gives unix seconds. ``policy`` is the root's own unless a test brings another. Raises
    ``TrustRootRejected`` for a root that no profile may use.
    """

    def __init__(
        self,
        root: TrustRoot,
        *,
        clock: Callable[[], float] = time.time,
        policy: EvidencePolicy | None = None,
    ) -> None:
        root.admit(None)
        self._root = root
        self._clock = clock
        self._policy = policy or root.evidence
        self._log = LogVerifier(root)

    def consistency_needed(
        self, bundle: NodeBundle, seen: Checkpoint | None
    ) -> tuple[int, int] | None:
        """Sizes (old, new) to fetch a consistency proof for, before `verify`; None when none is.

        Raises ``LogRejected`` when the checkpoint's signatures do not stand.
        """
        return self._log.consistency_needed(bundle.proof, seen)

    def verify(
        self,
        bundle: NodeBundle,
        *,
        seen: Checkpoint | None = None,
        consistency: Sequence[bytes] = (),
    ) -> VerifiedNode:
        """Verify all of ``bundle``, or raise ``EvidenceRejected`` or ``LogRejected``.

        1. Shape and sizes: the values' own, and a self-signed P-256 certificate.
        2. Validity: now is inside the bundle's and the certificate's window, and the bundle's is
           no longer than the root allows.
        3. Some of the evidence is of a kind the root's policy names.
        4. Evidence that satisfies the policy verifies, each piece bound to exactly this bundle's
           keys and window.
        5. What each piece claims is what the release record says.
        6. The checkpoint is the log's, a quorum of witnesses cosigned it, and did so recently.
        7. The release record is a leaf under that checkpoint.
        8. The checkpoint and the last one seen are of one history.

        ``seen`` is the newest checkpoint the caller stored, ``consistency`` the proof for
        `consistency_needed`. A bundle may carry an older checkpoint than ``seen`` while it is fresh
        and proven to be its prefix.

        The caller must still: store ``checkpoint`` when it is newer than ``seen``; accept only
        ``tls_spki_sha256`` where it connects; verify again at ``expires_at`` or when the trust root
        changes.
        """
        now = self._clock()
        certificate = _certificate(bundle)  # 1
        self._check_validity(bundle, certificate, now)  # 2
        self._check_kinds(bundle)  # 3
        bound = report_data(
            bundle.hpke_public_key, certificate.spki_sha256, bundle.not_before, bundle.expires_at
        )
        presented = {item.kind: item for item in bundle.evidence}
        judged = self._policy.judge(presented, report_data=bound, now=now)  # 4
        for claims in judged:
            _check_claims(claims, bundle.release)  # 5
        checkpoint = self._log.verify(  # 6, 7, 8
            bundle.release.canonical(),
            bundle.proof,
            now=now,
            seen=seen,
            consistency=consistency,
        ).checkpoint
        return VerifiedNode(
            node_id=bundle.node_id,
            hpke_public_key=bundle.hpke_public_key,
            tls_certificate=bundle.tls_certificate,
            tls_spki_sha256=certificate.spki_sha256,
            evidence_kind="+".join(sorted(claims.kind for claims in judged)),
            measurement=bundle.release.digest(),
            weights=bundle.release.weights,
            model=bundle.release.model,
            context_tokens=bundle.release.context_tokens,
            checkpoint=checkpoint,
            checkpoint_hash=checkpoint.digest(),
            checkpoint_note=bundle.proof.checkpoint,
            expires_at=bundle.expires_at,
            built_by=_BUILT_BY_VERIFIER,
        )

    def _check_validity(self, bundle: NodeBundle, certificate: NodeCertificate, now: float) -> None:
        if bundle.expires_at - bundle.not_before > self._root.node_max_lifetime_s:
            raise _evidence("the node's keys live longer than allowed", Rejection.LIFETIME)
        begins = max(float(bundle.not_before), certificate.not_before)
        if now + MAX_CLOCK_SKEW_S < begins:
            raise _evidence("the node's keys are not valid yet", Rejection.NOT_YET_VALID)
        if now >= min(float(bundle.expires_at), certificate.not_after):
            raise _evidence("the node's keys have expired", Rejection.EXPIRED)

    def _check_kinds(self, bundle: NodeBundle) -> None:
        if self._policy.kinds.isdisjoint(bundle.evidence_kinds):
            raise _evidence(
                f"the trust root does not accept {' and '.join(bundle.evidence_kinds)} evidence",
                Rejection.KIND_NOT_ACCEPTED,
            )


def _certificate(bundle: NodeBundle) -> NodeCertificate:
    try:
        return NodeCertificate.parse(bundle.tls_certificate)
    except TrustError as error:
        raise _evidence(error.message, error.reason) from error


def _check_claims(claims: Claims, release: Release) -> None:
    """Everything the record expects of this kind is claimed, and equal; at least one thing is."""
    measured = claims.measurements
    of_record = {
        "software": release.software,
        "weights": release.weights,
        "configuration": release.configuration,
    }
    expected = {name: value for name, value in of_record.items() if name in measured}
    golden = release.golden.get(claims.kind, {})
    expected |= golden
    # A kind that measures the machine needs golden values: a release that a machine names by
    # itself is as honest as what it booted.
    unchecked = bool(measured.keys() - of_record.keys()) and not golden
    differs = any(measured.get(name) != value for name, value in expected.items())
    if not expected or unchecked or differs:
        raise _evidence("the node does not run the release it names", Rejection.MEASUREMENT)


def _evidence(message: str, reason: Rejection) -> EvidenceRejected:
    return EvidenceRejected(message, reason=reason, hint="the node is not used; others may be")
