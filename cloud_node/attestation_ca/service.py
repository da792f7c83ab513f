"""The two methods of the attestation CA: challenge a TPM, certify its key."""

import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from grpc import aio

from cloud_node.attestation_ca.authority import AkAuthority
from cloud_node.attestation_ca.challenges import Challenges
from cloud_node.attestation_ca.config import AttestationCaConfig
from cloud_node.attestation_ca.endorsement import EndorsementJudge, verify_attestation_key
from cloud_node.events import Event, EventLog, Field
from cloud_node.listening import serve
from cloud_node.refusals import refusing
from cloud_node.service import Service
from lanai.errors import CloudRefused, ConfigError, RefusalCode, Rejection, TrustError
from protos.lanai.v1alpha import attestation_ca_pb2 as pb
from protos.lanai.v1alpha import attestation_ca_pb2_grpc as stubs
from trust.attestation.tpm2.chain import Link
from trust.attestation.tpm2.credential import make_credential

__all__ = ["AttestationCaService", "run"]

Asked = TypeVar("Asked")
Given = TypeVar("Given")

MAX_FIELD_BYTES = 4096
_ANSWER = {Rejection.MALFORMED: RefusalCode.BAD_REQUEST, Rejection.TOO_LARGE: RefusalCode.TOO_LARGE}


class AttestationCaService(stubs.AttestationCaServicer):
    """Certifies attestation keys of TPMs that ``judge`` believes. ``clock`` is unix seconds."""

    def __init__(
        self,
        authority: AkAuthority,
        judge: EndorsementJudge,
        challenges: Challenges,
        log: EventLog,
        *,
        certificate_lifetime_s: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if authority.unsafe_swtpm != judge.unsafe_swtpm:
            raise ConfigError("the CA's certificate and its roots are not of one kind of TPM")
        self._authority = authority
        self._judge = judge
        self._challenges = challenges
        self._log = log
        self._lifetime_s = certificate_lifetime_s
        self._clock = clock

    async def Challenge(  # noqa: N802  the wire's name
        self, request: pb.ChallengeRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.ChallengeResponse:
        """A credential that only the named TPM, holding the named key, can open."""
        async with refusing(context, self._log):
            return self._told(self.challenge, request)

    async def Certify(  # noqa: N802
        self, request: pb.CertifyRequest, context: aio.ServicerContext[Any, Any]
    ) -> pb.CertifyResponse:
        """The certificate, for whoever opened the credential."""
        async with refusing(context, self._log):
            response = self._told(self.certify, request)
        self._log.emit(Event.AK_CERTIFIED)
        return response

    def challenge(self, request: pb.ChallengeRequest) -> pb.ChallengeResponse:
        """1 a real TPM, 2 a key worth certifying, 3 a secret for the two together.

        Raises ``EvidenceRejected``, ``TrustError``, ``CloudRefused`` (busy).
        """
        fields = (request.ek_certificate, request.ek_public, request.ak_public)
        if any(len(field) > MAX_FIELD_BYTES for field in fields):
            raise TrustError("a field is too long", reason=Rejection.TOO_LARGE)
        now = self._clock()
        # 1
        endorsement = self._judge.verify(request.ek_certificate, request.ek_public, now)
        # 2
        key = verify_attestation_key(request.ak_public)
        # 3
        challenge, secret = self._challenges.begin(key, now)
        credential = make_credential(endorsement, key.name, secret)
        return pb.ChallengeResponse(
            challenge_id=challenge,
            credential_blob=credential.blob,
            encrypted_secret=credential.secret,
        )

    def certify(self, request: pb.CertifyRequest) -> pb.CertifyResponse:
        """Raises ``EvidenceRejected`` (``challenge``, ``expired``)."""
        now = self._clock()
        key = self._challenges.finish(request.challenge_id, request.secret, now)
        chain = self._authority.certify(key, lifetime_s=self._lifetime_s, now=now)
        return pb.CertifyResponse(ak_chain=chain)

    def _told(self, step: Callable[[Asked], Given], request: Asked) -> Given:
        """The caller learns a code, the operator the reason."""
        try:
            return step(request)
        except TrustError as error:
            self._log.emit(Event.AK_REFUSED, {Field.REASON: error.reason})
            code = _ANSWER.get(error.reason, RefusalCode.UNAUTHENTICATED)
            raise CloudRefused("not certified", refusal=code) from error


async def run(config: AttestationCaConfig, service: Service) -> None:
    """The process: key and certificate from their files, one server."""
    unsafe = bool(config.unsafe_swtpm_roots)
    if unsafe:
        service.log.emit(Event.UNSAFE_EVIDENCE)
    judge = EndorsementJudge(
        roots=_links(config.ek_roots or config.unsafe_swtpm_roots),
        intermediates=_links(config.ek_intermediates),
        machines=frozenset(config.endorsement_keys),
        unsafe_swtpm=unsafe,
    )
    ca = AttestationCaService(
        AkAuthority.read(config.signing_key, config.certificate),
        judge,
        Challenges(limit=config.max_challenges, lifetime_s=config.challenge_lifetime_s),
        service.log,
        certificate_lifetime_s=config.certificate_lifetime_s,
    )
    await serve(
        service, config.listen, lambda server: stubs.add_AttestationCaServicer_to_server(ca, server)
    )


def _links(pems: Iterable[str]) -> tuple[Link, ...]:
    try:
        certificates = [x509.load_pem_x509_certificate(pem.encode()) for pem in pems]
        return tuple(Link.parse(one.public_bytes(Encoding.DER)) for one in certificates)
    except (ValueError, TrustError):
        raise ConfigError("a root or intermediate is no certificate that can be used") from None
