"""One request runs once with an honest store, and once on each node at most with a lying one."""

import asyncio

import grpc
import pytest
from grpc import aio
from threat_parties import HostileGateway, HostileRelay, LyingStore, infer

from lanai.errors import CloudRefused, LanaiError, RefusalCode


async def test_an_honest_store_gives_one_execution(make_stage, ask) -> None:
    """A gateway that sends one envelope to every node, twice, has it run once."""
    stage = await make_stage(nodes=4)
    gateway = HostileGateway(stage)
    gateway.act = gateway.everywhere
    await ask(stage.device(transport=HostileRelay(stage.relay_to(gateway)), seal_to_nodes=4))
    assert sum(party.executions for party in stage.parties) == 1


async def test_all_nodes_at_the_same_moment_run_it_once(make_stage, ask) -> None:
    """Also when they are asked at once: the burn decides, before any key is unwrapped."""
    stage = await make_stage(nodes=4)
    gateway = HostileGateway(stage)
    refusals = []

    async def at_once(opened, request):
        results = await asyncio.gather(
            *(infer(party, request) for party in stage.parties), return_exceptions=True
        )
        answers = [found for found in results if isinstance(found, list)]
        refusals.extend(found.details() for found in results if isinstance(found, aio.AioRpcError))
        for frame in answers[0]:
            yield frame

    gateway.act = at_once
    await ask(stage.device(transport=HostileRelay(stage.relay_to(gateway)), seal_to_nodes=4))
    assert sum(party.executions for party in stage.parties) == 1
    assert refusals == [RefusalCode.REPLAYED] * 3


@pytest.mark.parametrize("addressed", [1, 2, 4])
async def test_a_lying_store_gives_one_execution_per_addressed_node(
    make_stage, ask, addressed
) -> None:
    """A store that says "new" of everything is held by each node's own memory."""
    stage = await make_stage(nodes=4, store=LyingStore())
    gateway = HostileGateway(stage)
    gateway.act = gateway.everywhere
    device = stage.device(transport=HostileRelay(stage.relay_to(gateway)), seal_to_nodes=addressed)
    await ask(device)
    executions = [party.executions for party in stage.parties]
    assert max(executions) == 1
    assert sum(executions) == addressed


async def test_a_store_that_is_gone_lets_nothing_run(make_stage, ask) -> None:
    """No word of the store, no key unwrapped; and a token is not spent without it either."""
    stage = await make_stage()
    gateway = HostileGateway(stage)
    hostile = stage.device("a", transport=HostileRelay(stage.relay_to(gateway)))
    plain = stage.device("b")
    for client in (hostile, plain):
        await client.status()
    stage.store.unavailable = True
    for client in (hostile, plain):
        with pytest.raises(LanaiError):
            await ask(client)
    assert sum(party.executions for party in stage.parties) == 0


async def test_a_restarted_node_opens_nothing_old(make_stage, ask) -> None:
    """Its memory of ids is gone, and so is the key that they were sealed to."""
    stage = await make_stage(nodes=1, store=LyingStore())
    gateway = HostileGateway(stage)
    await ask(stage.device(transport=HostileRelay(stage.relay_to(gateway))))
    (party,) = stage.parties
    _, request = gateway.taken[0]
    with pytest.raises(aio.AioRpcError) as caught:
        await infer(party, request)
    assert caught.value.details() == RefusalCode.REPLAYED
    old = party.node_id
    party.restart()
    assert party.node_id != old
    with pytest.raises(aio.AioRpcError) as caught:
        await infer(party, request)
    assert caught.value.details() == RefusalCode.ENVELOPE_REJECTED
    assert party.executions == 1


async def test_the_gateway_goes_on_only_before_the_burn(make_stage, ask) -> None:
    """A draining node is passed over; of one that broke behind its burn nobody knows, so it ends.

    Whichever is asked first drains, whichever is second breaks; the third is never asked.
    """
    stage = await make_stage(nodes=3)
    sent: list[bytes] = []
    for party in stage.parties:
        _break_in_turn(party, sent)
    with pytest.raises(CloudRefused) as caught:
        await ask(stage.device())
    assert caught.value.refusal is RefusalCode.INTERNAL
    assert len(sent) == 2
    assert [mark[0] for mark in stage.store._marks] == ["spent", "burned"]
    assert sum(party.executions for party in stage.parties) == 0


def _break_in_turn(party, sent: list[bytes]) -> None:
    infer_, burn = party.front.infer, party.front._burn

    async def broken(header, now):
        await burn(header, now)
        raise RuntimeError("the node broke behind its burn")

    async def in_turn(requests, context):
        sent.append(party.node_id)
        if len(sent) == 1:
            party.front._shared.load.drain()
        else:
            party.front._burn = broken
        await infer_(requests, context)

    party.front.infer = in_turn


async def test_a_connection_lost_behind_the_burn_is_the_devices_to_see(make_stage, ask) -> None:
    """The gateway does not send it elsewhere; the device seals anew, and counts the lost token."""
    stage = await make_stage(nodes=2)
    for party in stage.parties:
        party.front.infer = lost
    client = stage.device()
    with pytest.raises(LanaiError):
        await ask(client)
    spent = [mark for mark in stage.store._marks if mark[0] == "spent"]
    assert len(spent) == client.tokens_lost
    assert (await client.status()).tokens_lost == client.tokens_lost >= 1
    assert sum(party.executions for party in stage.parties) == 0


async def lost(_requests, context) -> None:
    await context.read()
    await context.abort(grpc.StatusCode.UNAVAILABLE, "connection reset")
