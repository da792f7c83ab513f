"""The node's half of credential activation: a certificate for its TPM's attestation key."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

import grpc
from cryptography import x509

from cloud_node.identity import CHANNEL_OPTIONS
from cloud_node.service import PinnedEndpoint
from cloud_node.tpm.endorsement import Endorsement
from lanai.errors import CloudUnavailable
from protos.lanai.v1alpha import attestation_ca_pb2 as pb
from protos.lanai.v1alpha.attestation_ca_pb2_grpc import AttestationCaStub

__all__ = ["Activates", "AkCertificate", "Authority", "AuthorityClient"]

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AkCertificate:
    """A chain (DER, attestation key first) and when its first certificate ends (unix seconds)."""

    chain: tuple[bytes, ...] = field(repr=False)
    not_after: float


class Activates(Protocol):
    """What enrolment needs of a TPM."""

    def endorsement(self) -> Endorsement:
        """Endorsement key and certificate."""

    def attestation_public(self) -> bytes:
        """The attestation key, as ``TPMT_PUBLIC``."""

    def activate(self, blob: bytes, secret: bytes) -> bytes:
        """What a credential holds."""


class Authority(Protocol):
    """Who certifies attestation keys."""

    def certify(self, opened: Callable[[], AbstractContextManager[Activates]]) -> AkCertificate:
        """A fresh certificate for the key of the TPM that ``opened`` opens.

        The TPM is opened for each step, so that it is free while the authority thinks. Raises
        ``CloudUnavailable``, also when the authority refuses.
        """


class AuthorityClient:
    """The attestation CA over gRPC, pinned. Blocks: call it in a thread."""

    def __init__(self, endpoint: PinnedEndpoint) -> None:
        self._endpoint = endpoint

    def certify(self, opened: Callable[[], AbstractContextManager[Activates]]) -> AkCertificate:
        """See `Authority`."""
        credentials = grpc.ssl_channel_credentials(self._endpoint.certificate.encode())
        address = self._endpoint.address
        try:
            with grpc.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
                return _converse(AttestationCaStub(channel), opened)
        except grpc.RpcError as error:
            raise CloudUnavailable(
                f"the attestation CA gave no certificate ({error.details()})",
                hint="its log says why",
            ) from None


def _converse(
    authority: AttestationCaStub, opened: Callable[[], AbstractContextManager[Activates]]
) -> AkCertificate:
    """1 who we are, 2 open what only our TPM opens, 3 show it."""
    # 1
    with opened() as tpm:
        endorsement, key = tpm.endorsement(), tpm.attestation_public()
    asked = authority.Challenge(
        pb.ChallengeRequest(
            ek_certificate=endorsement.certificate, ek_public=endorsement.public, ak_public=key
        ),
        timeout=TIMEOUT_S,
    )
    # 2
    with opened() as tpm:
        secret = tpm.activate(asked.credential_blob, asked.encrypted_secret)
    # 3
    shown = pb.CertifyRequest(challenge_id=asked.challenge_id, secret=secret)
    chain = tuple(authority.Certify(shown, timeout=TIMEOUT_S).ak_chain)
    try:
        certificate = x509.load_der_x509_certificate(chain[0])
    except (ValueError, IndexError):
        raise CloudUnavailable("the attestation CA sent no certificate") from None
    return AkCertificate(chain=chain, not_after=certificate.not_valid_after_utc.timestamp())
