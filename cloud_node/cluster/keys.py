"""Keys that a cluster makes anew.

A new TLS identity and token key come with every `up`: the embedded store forgets spent tokens when
it stops, so tokens of an older life must not be good in the next. The log's and the witness's keys
stay with their state.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cloud_node.identity import TlsIdentity
from cloud_node.keyfiles import write_identity, write_secret
from trust.tokens import TokenIssuer

__all__ = ["fresh_identities", "fresh_token_key"]

IDENTITY_LIFETIME_S: Final = 30 * 24 * 3600


def fresh_identities(folder: Path, roles: Iterable[str]) -> dict[str, str]:
    """A new TLS identity for each role; returns the certificates (PEM)."""
    certificates = {}
    for role in roles:
        identity = TlsIdentity.generate(role, lifetime_s=IDENTITY_LIFETIME_S)
        write_identity(folder / role, identity)
        certificates[role] = identity.certificate_pem.decode("ascii")
    return certificates


def fresh_token_key(path: Path) -> TokenIssuer:
    """A new RSA key for tokens at ``path``."""
    issuer = TokenIssuer.generate()
    write_secret(path, issuer.to_pem())
    return issuer
