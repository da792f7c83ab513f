"""A log that lies, and witnesses that sleep: what a device that was here before accepts of it."""

from contextlib import asynccontextmanager

import pytest
from threat_parties import HostileRelay
from threat_wire import Line

from lanai.errors import LogRejected, Rejection
from protos.lanai.v1alpha.gateway_pb2 import KeysResponse
from trust.bundle import LogProof
from trust.keys import LoggedKey
from trust.log.merkle import Tree, leaf_hash
from trust.log.witness import WitnessState
from trust.testing import UnsafeTrustWorld


@pytest.fixture
def client(stage):
    return stage.device()


async def refusal(ask, client) -> Rejection:
    with pytest.raises(LogRejected) as caught:
        await ask(client)
    return caught.value.reason


@asynccontextmanager
async def fresh_roster(stage):
    """A device of the same user whose next process asks anew; its checkpoint is on its disk."""
    client = stage.device()
    yield client
    await client.close()


def forked(stage, leaves: list[bytes]) -> UnsafeTrustWorld:
    """The same log and witness keys over other leaves: every witness is in on it."""
    world = UnsafeTrustWorld(now=int(stage.now))
    world.operator_key, world.root = stage.world.operator_key, stage.world.root
    world.log_signer, world.origin = stage.world.log_signer, stage.world.origin
    world.witness_signers = stage.world.witness_signers
    world._witnesses = [
        WitnessState(signer, {world.origin: world.log_signer.verifier}, persist=lambda state: None)
        for signer in world.witness_signers
    ]
    for leaf in leaves:
        world.append(leaf)
    return world


async def turned(stage, world: UnsafeTrustWorld) -> None:
    """The log shows this history from now on, and the gateway goes along with it."""
    stage.world = world
    stage.keys._newest = stage.keys._proved_at = None
    stage.keys._read, stage.keys._proved = 0, {}
    stage.roster._verifier._newest = None
    stage.roster._verifier._verified = {}
    stage.now += 1
    await stage.announce()


async def test_a_split_view_is_refused(stage, client, ask) -> None:
    """Another tree of the same size, signed by the log and by every witness."""
    await ask(client)
    size = stage.world.tree.size
    await _with(stage, _swapped(stage, list(stage.leaves)))
    assert stage.world.tree.size == size
    async with fresh_roster(stage) as again:
        assert await refusal(ask, again) is Rejection.SPLIT_VIEW


async def test_a_rewritten_history_is_refused(stage, client, ask) -> None:
    """A larger tree that does not continue the one this device saw: no proof fits."""
    await ask(client)
    leaves = list(stage.leaves)
    await _with(stage, [b"rewritten", *leaves])
    async with fresh_roster(stage) as again:
        assert await refusal(ask, again) is Rejection.CONSISTENCY


async def test_a_rolled_back_history_is_refused(stage, client, ask) -> None:
    """A smaller tree that is no prefix of the one this device saw."""
    stage.world.append(b"a late leaf")
    await stage.announce()
    stage.keys._proved_at = None
    await stage.keys.refresh()
    await ask(client)
    leaves = [leaf for leaf in stage.leaves if leaf != b"a late leaf"]
    await _with(stage, leaves[::-1])
    async with fresh_roster(stage) as again:
        assert await refusal(ask, again) is Rejection.ROLLBACK


async def test_a_stale_checkpoint_is_refused(stage, client, ask) -> None:
    """Cosigned longer ago than the root allows: the log may have grown in secret since."""
    relay = HostileRelay(stage.relay)
    shown: list[bytes] = []
    relay.shown_keys = lambda data: shown.append(data) or shown[0]
    first = stage.device("first", transport=relay)
    await ask(first)
    stage.root = stage.root.__class__.from_json(
        stage.root.to_json().replace('"checkpoint_max_age_s": 86400', '"checkpoint_max_age_s": 60')
    )
    stage.now += 600
    assert await refusal(ask, stage.device("first", transport=relay)) is Rejection.STALE_CHECKPOINT


async def test_a_missing_quorum_is_refused(stage, ask) -> None:
    """The log's own signature is not enough, nor that of one witness of two."""
    for cosigners in ((), (0,)):
        relay = HostileRelay(stage.relay)
        relay.shown_keys = lambda data, few=cosigners: _cosigned_by(stage, data, few)
        client = stage.device(f"with-{len(cosigners)}", transport=relay)
        assert await refusal(ask, client) is Rejection.WITNESS_QUORUM
        assert relay.exchanges == []


async def test_a_log_of_another_key_is_refused(stage, ask) -> None:
    """A whole honest-looking world, of somebody else."""
    other = UnsafeTrustWorld(now=int(stage.now))
    relay = HostileRelay(stage.relay)

    def moved(data: bytes) -> bytes:
        keys = [LoggedKey.from_proto(key) for key in KeysResponse.FromString(data).keys]
        shown = [other.logged(key.record).to_proto() for key in keys]
        return KeysResponse(keys=shown).SerializeToString()

    relay.shown_keys = moved
    reason = await refusal(ask, stage.device(transport=relay))
    assert reason in {Rejection.UNKNOWN_KEY, Rejection.SIGNATURE}


async def test_a_refused_log_changes_no_memory(stage, client, ask) -> None:
    """After a refusal the device still knows what it saw, and the honest log still serves it."""
    await ask(client)
    relay = HostileRelay(stage.relay)
    relay.shown_keys = lambda data: _cosigned_by(stage, data, ())
    again = stage.device(transport=relay)
    await refusal(ask, again)
    pieces, _ = await ask(stage.device(transport=Line(stage.relay)))
    assert pieces


def _swapped(stage, leaves: list[bytes]) -> list[bytes]:
    """The same leaves in another order: the same size, another root."""
    return [leaves[1], leaves[0], *leaves[2:]]


async def _with(stage, leaves: list[bytes]) -> None:
    await turned(stage, forked(stage, leaves))


def _cosigned_by(stage, data: bytes, cosigners: tuple[int, ...]) -> bytes:
    """The same keys under a checkpoint that only these witnesses cosigned."""
    message = KeysResponse.FromString(data)
    tree = Tree(map(leaf_hash, stage.leaves))
    shown = []
    for key in message.keys:
        index = stage.leaves.index(key.record)
        note = stage.world.checkpoint(cosigners=cosigners)
        proof = LogProof(index=index, hashes=tree.inclusion(index), checkpoint=note)
        shown.append(type(key)(record=key.record, proof=proof.to_proto()))
    return KeysResponse(keys=shown).SerializeToString()
