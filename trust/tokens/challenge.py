"""The challenge a token answers (RFC 9577, section 2.1). Only its hash travels, in the token."""

from lanai.errors import Rejection, TokenRejected

__all__ = ["TOKEN_TYPE", "token_challenge"]

TOKEN_TYPE = 0x0002


def token_challenge(issuer_name: str, *, origin: str = "", context: bytes = b"") -> bytes:
    """A ``TokenChallenge`` for blind RSA tokens.

    ``context`` (0 or 32 bytes) ties tokens to one occasion, ``origin`` to one verifier; left empty,
    they are good wherever the issuer is accepted. Raises ``TokenRejected`` (``MALFORMED``).
    """
    if not (issuer_name + origin).isascii():
        raise _malformed("issuer and origin are ASCII names")
    name, origin_info = issuer_name.encode("ascii"), origin.encode("ascii")
    if not 0 < len(name) < 2**16 or len(origin_info) >= 2**16 or len(context) not in {0, 32}:
        raise _malformed("a token challenge out of its limits")
    return (
        TOKEN_TYPE.to_bytes(2, "big")
        + len(name).to_bytes(2, "big")
        + name
        + len(context).to_bytes(1, "big")
        + context
        + len(origin_info).to_bytes(2, "big")
        + origin_info
    )


def _malformed(message: str) -> TokenRejected:
    return TokenRejected(
        message,
        reason=Rejection.MALFORMED,
        hint="name an issuer; the context is empty or 32 bytes",
    )
