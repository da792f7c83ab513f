"""The verification library, `dcap-qvl` (Rust), behind one function. It opens no connection here.

It checks every signature from the pinned root down, revocation, the quoting enclave's identity, and
which of Intel's TCB levels the platform has.
"""

import importlib
import re
from dataclasses import dataclass
from types import ModuleType

from lanai.errors import EvidenceRejected, Rejection, TrustError
from trust.attestation.tdx.collateral import Collateral
from trust.attestation.tdx.refusals import malformed, rejected
from trust.strict import read_object

__all__ = ["Judgement", "judge"]

_MAX_CLAIMS = 64 * 1024
_REFUSALS = (
    (re.compile(r"No matching TCB level|current TDX TCB|below minimum"), Rejection.TCB),
    (re.compile(r"[Rr]evoked"), Rejection.REVOKED),
    (re.compile(r"Failed to verify certificate chain|Fmspc mismatch"), Rejection.CHAIN),
)
"""Only the word of the refusal depends on the library's text: whatever it says, it is a refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What Intel's statements say of the platform, worst of module, platform and enclave."""

    status: str
    advisories: tuple[str, ...]
    evaluation: int


def judge(quote: bytes, collateral: Collateral, root: bytes, now: float) -> Judgement:
    """Raises ``EvidenceRejected``.

    ``signature``, ``chain``, ``revoked``, ``tcb`` (below every level); ``kind_not_accepted`` when
    the library is not installed.
    """
    library = _load()
    try:
        claims = library.QuoteVerifier(root).verify_with_policy(
            quote,
            _given(library, collateral),
            int(now),
            library.QuotePolicy.claims_only(int(now)),
        )
        value = read_object(claims.to_json(), limit=_MAX_CLAIMS)
    except ValueError as error:
        raise _refusal(str(error)) from error
    except TrustError as error:
        raise malformed("the library's claims are unreadable") from error
    except BaseException as error:
        # A panic in Rust arrives as a BaseException that is no Exception.
        if type(error).__name__ != "PanicException":
            raise
        raise malformed("the library cannot read it") from error
    return _judgement(value.get("tcb"))


def _given(library: ModuleType, collateral: Collateral) -> object:
    return library.QuoteCollateralV3(
        collateral.pck_crl_issuer_chain,
        bytes.fromhex(collateral.root_ca_crl),
        bytes.fromhex(collateral.pck_crl),
        collateral.tcb_info_issuer_chain,
        collateral.tcb_info,
        bytes.fromhex(collateral.tcb_info_signature),
        collateral.qe_identity_issuer_chain,
        collateral.qe_identity,
        bytes.fromhex(collateral.qe_identity_signature),
    )


def _judgement(tcb: object) -> Judgement:
    match tcb:
        case {"status": str(status), "advisory_ids": list(names), "eval_data_number": int(number)}:
            advisories = tuple(str(name) for name in names)
            return Judgement(status=status, advisories=advisories, evaluation=number)
    raise malformed("the library's claims name no TCB status")


def _refusal(text: str) -> EvidenceRejected:
    for pattern, reason in _REFUSALS:
        if pattern.search(text):
            return rejected("the platform or its certificates are refused", reason)
    return rejected("its signatures do not verify", Rejection.SIGNATURE)


def _load() -> ModuleType:
    try:
        return importlib.import_module("dcap_qvl")
    except ImportError as error:
        raise rejected(
            "it cannot be verified here",
            Rejection.KIND_NOT_ACCEPTED,
            hint="install lanai[tdx], which brings dcap-qvl",
        ) from error
