"""A store, which everybody who serves needs and nobody trusts, that forgets, lies and makes up."""

import pytest
from threat_parties import LyingStore
from threat_stage import NodeParty

from lanai.errors import LanaiError
from protos.lanai.v1alpha import bundle_pb2
from trust.attestation import Release


@pytest.fixture
def shown(stage, monkeypatch) -> dict[bytes, bytes]:
    """What the store shows from now on, instead of what it was told."""
    roster: dict[bytes, bytes] = {}

    async def show() -> dict[bytes, bytes]:
        return roster

    monkeypatch.setattr(stage.store, "roster", show)
    return roster


async def test_a_store_that_forgets_takes_no_node_away(stage, shown, ask) -> None:
    """Nodes that were announced and are connected stay."""
    await stage.roster.refresh()
    assert len(stage.roster.bundles()) == 3
    assert (await ask(stage.device()))[0]


async def test_a_store_that_is_gone_takes_no_node_away(stage, monkeypatch) -> None:
    """The gateway keeps its last view; it spends and burns nothing meanwhile (`at most once`)."""
    stage.store.unavailable = True
    await stage.roster.refresh()
    assert len(stage.roster.bundles()) == 3


async def test_a_made_up_node_is_not_taken(stage, shown) -> None:
    """Without good evidence, log proof and signature, an announcement is noise."""
    honest = stage.parties[0]
    hidden = NodeParty(stage, "hidden", release=honest.release, store=stage.store)
    hidden.attested = Release(
        software="ff" * 32,
        weights=honest.release.weights,
        configuration=honest.release.configuration,
        model="toy",
        context_tokens=512,
    )
    moved = bundle_pb2.SignedAnnouncement.FromString(honest.announcement())
    said = bundle_pb2.Announcement.FromString(moved.announcement)
    said.address = "thief.invalid:1"
    moved.announcement = said.SerializeToString()
    shown.update(
        {
            hidden.node_id: hidden.announcement(),
            honest.node_id: moved.SerializeToString(),
            b"x" * 32: honest.announcement(),
            b"y" * 32: b"noise",
        }
    )
    before = stage.roster.candidates([party.node_id for party in stage.parties])
    await stage.roster.refresh()
    after = stage.roster.candidates([*shown, *(party.node_id for party in stage.parties)])
    assert {entry.announced.address for entry in after} == {
        entry.announced.address for entry in before
    }


async def test_an_old_announcement_changes_nothing(stage, shown) -> None:
    """A store that shows what a node said before does not turn it back."""
    (party, *_) = stage.parties
    old = party.announcement()
    stage.now += 5
    party.address = "moved.invalid:1"
    shown[party.node_id] = party.announcement()
    await stage.roster.refresh()
    shown[party.node_id] = old
    await stage.roster.refresh()
    (entry,) = stage.roster.candidates([party.node_id])
    assert entry.announced.address == "moved.invalid:1"


async def test_a_store_that_lets_tokens_pass_twice_gains_no_execution(make_stage, ask) -> None:
    """A token's second use costs the operator; the request ids still hold on every node."""
    stage = await make_stage(nodes=1, store=LyingStore())
    client = stage.device()
    for _ in range(3):
        await ask(client)
    assert stage.parties[0].executions == 3


async def test_the_store_holds_hashes_only(stage, ask) -> None:
    """After a request: marks of tokens and ids, announcements, and no byte of anybody's words."""
    await ask(stage.device())
    kept = b"".join(mark[1] for mark in stage.store._marks)
    kept += b"".join(entry for entry, _ in stage.store._nodes.values())
    assert {len(mark[1]) for mark in stage.store._marks} == {16, 32}
    for secret in (b"own words", b"answer", b"tester"):
        assert secret not in kept


async def test_a_store_that_refuses_everything_stops_everything(stage, ask, monkeypatch) -> None:
    """It can deny service. It cannot have a request run without its mark."""

    async def spent(token_hash: bytes, *, ttl_s: int) -> bool:
        return False

    monkeypatch.setattr(stage.store, "spend_token", spent)
    client = stage.device()
    with pytest.raises(LanaiError):
        await ask(client)
    assert client.tokens_lost == 2
    assert sum(party.executions for party in stage.parties) == 0
