"""The stage itself: with honest parties everything works, so that a refusal elsewhere means it."""

from threat_stage import ANSWER


async def test_an_honest_cloud_answers(stage, ask) -> None:
    """One question, one execution, one token, and the receipt names the node that ran it."""
    client = stage.device()
    pieces, stream = await ask(client)
    assert tuple(pieces) == ANSWER
    ran = [party for party in stage.parties if party.executions]
    assert [party.node_id.hex() for party in ran] == [stream.receipt.node]
    assert client.tokens_lost == 0
    status = await client.status()
    assert (status.verified_nodes, status.tokens_left) == (3, 3)
