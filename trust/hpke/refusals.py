"""How HPKE says no: two reasons, and never more than a caller may learn."""

from lanai.errors import EnvelopeRejected, Rejection

__all__ = ["bad_key", "does_not_open", "ended"]

HINT = "fetch the key again"


def bad_key(what: str) -> EnvelopeRejected:
    """A key or encapsulation that is none of this KEM."""
    return EnvelopeRejected(f"not {what}", reason=Rejection.MALFORMED, hint=HINT)


def does_not_open() -> EnvelopeRejected:
    """A ciphertext that was not sealed to this key, in this place, under this ``info``."""
    return EnvelopeRejected("a sealed message does not open", reason=Rejection.DECRYPTION)


def ended() -> EnvelopeRejected:
    """A context that was used up, or refused something before."""
    return EnvelopeRejected("the message has ended", reason=Rejection.AFTER_END)
