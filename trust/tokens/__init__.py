"""Anonymous tokens: the issuer knows who gets them, the gateway that they are good, nobody both.

RFC 9474 blind RSA (RSABSSA-SHA384-PSS-Deterministic) in the token format of RFC 9578, type 0x0002.
A token's nonce is the hash of a one-time holder key, and that key signs the envelope it pays for: a
token seen on its way cannot pay for anything else.

Trusts `cryptography`, and OpenSSL's libcrypto for the issuer's private operation (constant time).
Refuses, with ``TokenRejected`` and a reason, any other key, challenge, holder or envelope. Spending
once is the store's part, and the caller's.
"""

from trust.tokens.challenge import token_challenge
from trust.tokens.issuer import TokenIssuer
from trust.tokens.request import MAX_BATCH, PendingTokens, begin
from trust.tokens.token import TOKEN_BYTES, Token
from trust.tokens.verifier import TokenVerifier

__all__ = [
    "MAX_BATCH",
    "TOKEN_BYTES",
    "PendingTokens",
    "Token",
    "TokenIssuer",
    "TokenVerifier",
    "begin",
    "token_challenge",
]
