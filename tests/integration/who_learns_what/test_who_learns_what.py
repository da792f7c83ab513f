"""What each party of a whole exchange was shown, byte for byte, against the table of the design.

Relay, gateway, issuer, nodes and store run in this process on loopback, over real TLS, and write
down every payload, metadata entry and peer address they are given; the gateway also what it opened
of the outer seal, the node what its engine was asked. Then everything that could say something of
the user or the request is looked for in all of it, as bytes, hex and base64.
"""

import base64
from collections.abc import Callable, Mapping
from typing import Any

from google.protobuf.message import DecodeError

from lanai.errors import RefusalCode
from protos.lanai.v1alpha.gateway_pb2 import GatewayFrame
from trust.tokens.token import TOKEN_BYTES

QUESTION, ANSWER, OTHER = "canary question", "canary answer", "another canary"


def opened_frames(cell: Any) -> list[GatewayFrame]:
    """The ``open`` frames the gateway read, oldest first."""
    frames = []
    for shown in cell.seen.shown("gateway"):
        try:
            frame = GatewayFrame.FromString(shown)
        except DecodeError:
            continue  # an address, or an answer
        if frame.HasField("open") and len(frame.open.spend.token) == TOKEN_BYTES:
            frames.append(frame)
    return frames


def marks(cell: Any) -> Mapping[str, list[bytes]]:
    """What to look for: the names of the table's facts, each with the bytes that would show it."""
    opening = opened_frames(cell)[-1].open
    header, spend = opening.header, opening.spend
    nodes = [node.epoch for node in cell.cloud.nodes]
    return {
        "client address": [cell.seen.device_address.encode()],
        "account": [cell.cloud.account.encode(), cell.cloud.credential],
        "question": [QUESTION.encode()],
        "answer": [ANSWER.encode()],
        "token": [spend.token, spend.token[-256:], spend.holder_key, spend.holder_signature],
        "token hash": [header.token_hash],
        "request id": [header.request_id],
        "node ids": [key.node_id for key in header.keys],
        "bundles": [node.bundle.hpke_public_key for node in nodes],
        "certificates": [node.bundle.tls_certificate for node in nodes],
    }


def learned(cell: Any, party: str, facts: Mapping[str, list[bytes]]) -> set[str]:
    """Names of the facts that this party was shown, in whatever encoding."""
    everything = cell.seen.everything(party)
    return {
        name
        for name, forms in facts.items()
        if any(form in everything for raw in forms for form in encodings(raw))
    }


def encodings(raw: bytes) -> list[bytes]:
    text = raw.hex().encode()
    return [raw, text, text.upper(), base64.b64encode(raw), base64.urlsafe_b64encode(raw)]


async def test_each_party_learns_what_the_table_says(make_cell: Callable[..., Any]) -> None:
    """One exchange: each party was shown exactly these facts, and every fact was seen somewhere."""
    cell = await make_cell()
    assert await cell.ask() == ANSWER
    facts = marks(cell)
    assert {party: learned(cell, party, facts) for party in sorted(cell.seen.parties())} == {
        "gateway": {
            "bundles",
            "certificates",
            "node ids",
            "request id",
            "token",
            "token hash",
        },
        "issuer": {"account"},
        "node": {"node ids", "question", "request id", "token hash"},
        "relay": {"client address"},
        "store": {"bundles", "certificates", "node ids", "request id", "token hash"},
        "telemetry": set(),
    }


async def test_the_answer_is_sealed_from_the_node_to_the_device(
    make_cell: Callable[..., Any],
) -> None:
    """The answer's text is in nothing that any party but the node's own processes was shown."""
    cell = await make_cell()
    await cell.ask()
    for party in ("relay", "gateway", "issuer", "store", "telemetry"):
        assert ANSWER.encode() not in cell.seen.everything(party)
        assert ANSWER[:6].encode() not in cell.seen.everything(party)


async def test_spending_shows_the_issuer_nothing(make_cell: Callable[..., Any]) -> None:
    """With tokens in the wallet, a request reaches every party but the issuer."""
    cell = await make_cell()
    await cell.ask()
    before = {party: cell.seen.count(party) for party in cell.seen.parties()}
    assert await cell.ask() == ANSWER
    grown = {party for party, count in before.items() if cell.seen.count(party) > count}
    assert "issuer" in before
    assert grown == set(before) - {"issuer"}


async def test_the_issuer_cannot_tell_which_token_was_spent(make_cell: Callable[..., Any]) -> None:
    """Of what the issuer signed and was sent, nothing occurs in the token, nor the reverse."""
    cell = await make_cell()
    await cell.ask()
    spend = opened_frames(cell)[-1].open.spend
    at_issuer = cell.seen.everything("issuer")
    pieces = [spend.token[i : i + 16] for i in range(2 + 3 * 32, TOKEN_BYTES, 16)]
    assert not any(piece in at_issuer for piece in [*pieces, spend.token[2:34]])


async def test_two_requests_have_nothing_in_common_at_the_gateway(
    make_cell: Callable[..., Any],
) -> None:
    """Token, holder key, request id and wrapped keys are fresh: only node ids may come again."""
    cell = await make_cell()
    await cell.ask()
    await cell.ask(OTHER)
    first, second = (frame.open for frame in opened_frames(cell)[-2:])
    assert first.spend.token[-256:] != second.spend.token[-256:]
    assert first.spend.token[2:34] != second.spend.token[2:34]
    assert first.spend.holder_key != second.spend.holder_key
    assert first.header.request_id != second.header.request_id
    assert not {k.sealed for k in first.header.keys} & {k.sealed for k in second.header.keys}


async def test_the_relays_frames_have_sizes_that_do_not_tell_the_question(
    make_cell: Callable[..., Any],
) -> None:
    """A short and a longer question give the relay frames of the same sizes."""
    cell = await make_cell()
    await cell.ask("short")
    sizes = []
    for question in ("x", "canary " * 10):
        before = cell.seen.count("relay")
        await cell.ask(question)
        shown = [len(item) for item in cell.seen.shown("relay")[before:]]
        # Frames alone. Addresses and metadata are shorter; so is the outer seal's empty end, which
        # comes when the device has its answer, and may be gone.
        sizes.append([size for size in shown if size > 64])
    assert len(sizes[0]) > len(ANSWER)
    assert sizes[0] == sizes[1]


async def test_a_leaking_relay_would_be_seen(make_cell: Callable[..., Any]) -> None:
    """Positive control: a relay that tells the device's address makes the table's check fail."""
    cell = await make_cell(leaking=True)
    assert await cell.ask() == ANSWER
    assert "client address" in learned(cell, "gateway", marks(cell))


async def test_an_unsealed_frame_would_be_seen(make_cell: Callable[..., Any]) -> None:
    """Positive control: the same frames without the outer seal would have shown the relay all."""
    cell = await make_cell()
    await cell.ask()
    facts = marks(cell)
    assert learned(cell, "relay", facts) == {"client address"}
    cell.seen.note("relay", opened_frames(cell)[-1].SerializeToString())
    gained = {"token", "token hash", "request id", "node ids"}
    assert learned(cell, "relay", facts) == {"client address", *gained}


async def test_a_replay_by_the_relay_runs_nothing(make_cell: Callable[..., Any]) -> None:
    """The relay sends a whole sealed exchange again: the gateway says so under the seal, spends
    nothing, and no node hears of it."""
    cell = await make_cell()
    await cell.ask()
    asked = sum(len(engine.prompts) for engine in cell.engines)
    marks_before = cell.seen.count("node")
    again = await cell.replay()
    assert sum(len(engine.prompts) for engine in cell.engines) == asked
    assert cell.seen.count("node") == marks_before
    assert '"token_spent"' in cell.cloud.said.getvalue()
    # One final chunk and no word in the clear: the relay cannot tell it from another refusal.
    assert len(again) == 1
    assert RefusalCode.TOKEN_SPENT.encode() not in again[0]
