"""Keys that a cluster makes anew, and those it keeps and rotates.

New TLS identities come with every `up`, and so does the challenge that tokens answer: the embedded
store forgets spent tokens when it stops, so tokens of an older life must not be good in the next.
The log's and the witness's keys stay with their state. The keys of issuer and gateway are leaves of
the log: they are kept while they hold, since a new one for every `up` would be many at one time.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from cloud_node.cluster.layout import ClusterLayout
from cloud_node.identity import TlsIdentity
from cloud_node.keyfiles import write_identity
from trust.keys import KeyPurpose, KeyRecord

__all__ = ["KEY_LIFETIME_S", "PURPOSES", "fresh_identities", "standing_keys"]

IDENTITY_LIFETIME_S: Final = 30 * 24 * 3600
KEY_LIFETIME_S: Final = 7 * 24 * 3600
"""Of a logged key; half of it is left when `up` takes one over."""
PURPOSES: Final[tuple[KeyPurpose, ...]] = ("issuer", "gateway")


def fresh_identities(folder: Path, roles: Iterable[str]) -> dict[str, str]:
    """A new TLS identity for each role; returns the certificates (PEM)."""
    certificates = {}
    for role in roles:
        identity = TlsIdentity.generate(role, lifetime_s=IDENTITY_LIFETIME_S)
        write_identity(folder / role, identity)
        certificates[role] = identity.certificate_pem.decode("ascii")
    return certificates


def standing_keys(layout: ClusterLayout, *, now: int | None = None) -> tuple[KeyRecord, ...]:
    """The records of every key that has not expired, at least one of each purpose.

    A key is made where none holds for half a lifetime more. ``now`` is unix seconds.
    """
    now = int(time.time()) if now is None else now
    found: list[KeyRecord] = []
    for purpose in PURPOSES:
        ring = layout.ring(purpose)
        ring.prune(now=now)
        if not any(k.record.expires_at >= now + KEY_LIFETIME_S // 2 for k in ring.read()):
            ring.add(now=now, lifetime_s=KEY_LIFETIME_S)
        found += [key.record for key in ring.read()]
    return tuple(found)
