"""What identifies a TPM."""

from dataclasses import dataclass, field

__all__ = ["Endorsement"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endorsement:
    """Endorsement key: its maker's certificate (DER) and its ``TPMT_PUBLIC``."""

    certificate: bytes = field(repr=False)
    public: bytes = field(repr=False)
