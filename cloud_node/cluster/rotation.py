"""New keys for issuer and gateway while the cluster runs; the old ones hold until they expire.

Nobody is restarted: the private half appears in a party's key folder, the public half in the log,
and whoever uses keys follows both. A rotation that was cut short is made whole by the next, or by
`up`: records that are in a folder and not yet in the log are published then.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from cloud_node.cluster.keys import KEY_LIFETIME_S, PURPOSES
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.processes import ProcessEntry, ProcessTable
from cloud_node.cluster.trust import refresh_trust
from cloud_node.cluster.views import publish, shown_keys
from cloud_node.keyfiles import read_identity
from cloud_node.service import PinnedEndpoint
from lanai.errors import CloudError, CloudUnavailable
from trust.keys import KeyRecord

__all__ = ["rotate_keys"]

SHOWN_S: Final = 20.0
POLL_S: Final = 0.2


async def rotate_keys(layout: ClusterLayout) -> tuple[KeyRecord, ...]:
    """Make, publish and take into service a key of each purpose; return their records.

    1. log and relay run, and no key is waiting for its window already
    2. new keys in the folders of issuer and gateway
    3. every record of these folders in the log, cosigned
    4. devices are shown those that hold now
    5. the trust root's metadata, as far as the log cannot renew it itself

    A key begins now, or when at most one older one still holds. Raises ``CloudError``.
    """
    # 1
    entries = {entry.role: entry for entry in ProcessTable(layout.processes).entries()}
    log, relay = _endpoint(layout, entries, "log"), _endpoint(layout, entries, "relay")
    now = int(time.time())
    _require_none_waiting(layout, now)
    # 2
    made = [
        await asyncio.to_thread(layout.ring(purpose).add, now=now, lifetime_s=KEY_LIFETIME_S)
        for purpose in PURPOSES
    ]
    # 3
    records = [key.record for purpose in PURPOSES for key in layout.ring(purpose).read()]
    leaves = [record.canonical() for record in records]
    await publish(log, leaves, layout.operator.read_bytes())
    # 4
    await _wait_until_shown(relay, [r.canonical() for r in made if r.not_before <= now])
    # 5
    await asyncio.to_thread(refresh_trust, layout)
    return tuple(made)


def _require_none_waiting(layout: ClusterLayout, now: int) -> None:
    for purpose in PURPOSES:
        for key in layout.ring(purpose).read():
            if key.record.not_before > now:
                left_h = (key.record.not_before - now) / 3600
                raise CloudError(
                    f"the {purpose}'s next key waits already, to begin in {left_h:.0f} h",
                    hint="of more than two keys at one time, each would name a few users",
                )


def _endpoint(layout: ClusterLayout, entries: dict[str, ProcessEntry], role: str) -> PinnedEndpoint:
    entry = entries.get(role)
    if entry is None or not entry.address:
        raise CloudUnavailable(
            f"no cluster named {layout.name} is running", hint="`lanai cloud up` starts one"
        )
    certificate = read_identity(layout.key(role)).certificate_pem.decode("ascii")
    return PinnedEndpoint(address=entry.address, certificate=certificate)


async def _wait_until_shown(relay: PinnedEndpoint, leaves: Sequence[bytes]) -> None:
    deadline = time.monotonic() + SHOWN_S
    while not await shown_keys(relay) >= set(leaves):
        if time.monotonic() > deadline:
            raise CloudUnavailable(
                "the gateway does not show the new keys", hint="its log says why"
            )
        await asyncio.sleep(POLL_S)
