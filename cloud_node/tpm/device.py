"""A TPM 2.0 through ``tpm2-pytss``: the commands a node needs, each leaving no handle behind.

A TPM has room for three loaded keys and three sessions. Every key here is made from the TPM's seed
by a template, so it is the same each time, and is flushed when its command is done.
"""

import socket
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from tpm2_pytss import (
    ESAPI,
    ESYS_TR,
    TPM2_ALG,
    TPM2_SE,
    TPM2B_DATA,
    TPM2B_DIGEST,
    TPM2B_ENCRYPTED_SECRET,
    TPM2B_ID_OBJECT,
    TPM2B_NONCE,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE_CREATE,
    TPML_DIGEST_VALUES,
    TPML_PCR_SELECTION,
    TPMT_HA,
    TPMT_SYM_DEF,
    TPMU_HA,
    PyTCTI,
    TCTILdr,
    TSS2_Exception,
)
from tpm2_pytss.utils import NoSuchIndex, NVReadEK, create_ek_template

from cloud_node.tpm.endorsement import Endorsement
from lanai.errors import CloudUnavailable
from trust.attestation.tpm2.reader import Reader, sized

__all__ = ["Tpm", "opened"]

TIMEOUT_S: Final = 20.0
_MAX_RESPONSE: Final = 4096
_PCRS_AT_ONCE: Final = 8
_EK_TEMPLATES: Final = ("EK-ECC256", "EK-HIGH-ECC256", "EK-HIGH-ECC384", "EK-RSA2048")
"""Elliptic curves first: an RSA key takes a real TPM seconds to make."""
_AK_ATTRIBUTES: Final = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|restricted|sign|noda"
_USER_WITH_AUTH: Final = 1 << 6


@contextmanager
def opened(path: str, *, unsafe_swtpm: bool) -> Iterator["Tpm"]:
    """The TPM at ``path``, closed at the end. Raises ``CloudUnavailable``."""
    try:
        channel = _SocketChannel(path) if unsafe_swtpm else TCTILdr("device", path)
        with channel, ESAPI(channel) as commands:
            yield Tpm(commands)
    except (TSS2_Exception, OSError) as error:
        raise CloudUnavailable(
            f"the TPM failed ({type(error).__name__})", hint=f"is there a TPM at {path}?"
        ) from error


class Tpm:
    """One open TPM."""

    def __init__(self, commands: Any) -> None:
        self._commands = commands

    def endorsement(self) -> Endorsement:
        """The first endorsement key that has a certificate. Raises ``CloudUnavailable``."""
        certificate, template = self._template()
        with self._key(template) as (_, public):
            return Endorsement(certificate=_whole_der(certificate), public=public)

    def attestation_public(self) -> bytes:
        """The attestation key, as ``TPMT_PUBLIC``."""
        with self._key(_ak_template()) as (_, public):
            return public

    def activate(self, blob: bytes, secret: bytes) -> bytes:
        """What a credential for this TPM's attestation key holds (``ActivateCredential``)."""
        _, template = self._template()
        sealed = TPM2B_ID_OBJECT.unmarshal(blob)[0], TPM2B_ENCRYPTED_SECRET.unmarshal(secret)[0]
        with (
            self._key(template) as (endorsement, _),
            self._key(_ak_template()) as (attestation, _),
            self._endorsement_session(template) as session,
        ):
            opened = self._commands.activate_credential(
                attestation, endorsement, *sealed, session2=session
            )
            return bytes(opened)

    def extend(self, pcr: int, digest: bytes) -> None:
        """Extend ``pcr`` of the SHA-256 bank."""
        value = TPMT_HA(hashAlg=TPM2_ALG.SHA256, digest=TPMU_HA(sha256=digest))
        self._commands.pcr_extend(ESYS_TR.PCR0 + pcr, TPML_DIGEST_VALUES([value]))

    def pcrs(self, indices: Iterable[int]) -> Mapping[int, bytes]:
        """Values of the SHA-256 bank, in the order of ``indices`` (ascending)."""
        left = list(indices)
        found: dict[int, bytes] = {}
        while left:
            asked, left = left[:_PCRS_AT_ONCE], left[_PCRS_AT_ONCE:]
            _, _, values = self._commands.pcr_read(_selection(asked))
            found |= dict(zip(asked, map(bytes, values), strict=True))
        return found

    def quote(self, extra_data: bytes, indices: Iterable[int]) -> tuple[bytes, bytes]:
        """``TPMS_ATTEST`` and ``TPMT_SIGNATURE`` by the attestation key."""
        with self._key(_ak_template()) as (key, _):
            quoted, signature = self._commands.quote(
                key, _selection(indices), TPM2B_DATA(extra_data)
            )
            return bytes(quoted), _padded(signature.marshal())

    def _template(self) -> tuple[bytes, Any]:
        """Certificate and template of an endorsement key (TCG EK Credential Profile)."""
        read = NVReadEK(self._commands)
        for kind in _EK_TEMPLATES:
            try:
                certificate, template = create_ek_template(kind, read)
            except (ValueError, NoSuchIndex):
                continue
            if certificate is not None:
                return bytes(certificate), template
        raise CloudUnavailable("the TPM holds no certificate of an endorsement key")

    @contextmanager
    def _key(self, template: Any) -> Iterator[tuple[Any, bytes]]:
        """A primary key of the endorsement hierarchy: its handle and ``TPMT_PUBLIC``."""
        made = self._commands.create_primary(
            TPM2B_SENSITIVE_CREATE(), template, ESYS_TR.ENDORSEMENT
        )
        try:
            yield made[0], bytes(made[1].publicArea.marshal())
        finally:
            self._commands.flush_context(made[0])

    @contextmanager
    def _endorsement_session(self, template: Any) -> Iterator[Any]:
        """What lets the endorsement key be used: its policy, or its empty password."""
        if int(template.publicArea.objectAttributes) & _USER_WITH_AUTH:
            yield ESYS_TR.PASSWORD
            return
        session = self._commands.start_auth_session(
            ESYS_TR.NONE,
            ESYS_TR.NONE,
            TPM2_SE.POLICY,
            TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
            TPM2_ALG.SHA256,
        )
        try:
            self._commands.policy_secret(
                ESYS_TR.ENDORSEMENT, session, TPM2B_NONCE(), TPM2B_DIGEST(), TPM2B_NONCE(), 0
            )
            yield session
        finally:
            self._commands.flush_context(session)


class _SocketChannel(PyTCTI):  # type: ignore[misc]  # the library ships no types
    """A software TPM's Unix socket, which the library of this Debian cannot open itself."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(TIMEOUT_S)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        super().__init__()

    def do_transmit(self, command: bytes) -> None:
        self._socket.sendall(bytes(command))

    def do_receive(self, timeout: int) -> bytes:
        del timeout
        head = self._exactly(10)
        (size,) = struct.unpack(">I", head[2:6])
        if not 10 <= size <= _MAX_RESPONSE:
            raise OSError("a response of no or too many bytes")
        return head + self._exactly(size - 10)

    def do_finalize(self) -> None:
        self._socket.close()

    def _exactly(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            if not (more := self._socket.recv(count - len(found))):
                raise OSError("the software TPM closed its socket")
            found += more
        return found


def _ak_template() -> Any:
    return TPM2B_PUBLIC.parse("ecc256:ecdsa-sha256:null", objectAttributes=_AK_ATTRIBUTES)


def _selection(indices: Iterable[int]) -> Any:
    return TPML_PCR_SELECTION.parse("sha256:" + ",".join(map(str, indices)))


def _padded(signature: bytes) -> bytes:
    """``TPMT_SIGNATURE`` with both numbers in 32 bytes: a TPM may leave leading zeros out."""
    read = Reader(signature)
    head, numbers = read.take(4), [read.sized(32), read.sized(32)]
    return head + b"".join(sized(number.rjust(32, b"\0")) for number in numbers)


def _whole_der(data: bytes) -> bytes:
    """The certificate without what fills the rest of its storage."""
    if len(data) < 4 or data[:2] != b"\x30\x82":
        return data
    return data[: 4 + int.from_bytes(data[2:4], "big")]
