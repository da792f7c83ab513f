"""The node's port: what it answers, what it refuses, in which order, and what it tells about it."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import pytest

from cloud_node.identity import TlsIdentity, open_channel
from inference.testing import Script, ScriptedEngine
from inference.testing.tiny_model import TINY_VOCABULARY
from lanai.telemetry import Span
from protos.lanai.v1alpha import node_pb2, node_pb2_grpc
from trust.bundle import NodeBundle
from trust.envelope import NodeKey, SealedChunk, seal_request

CONTEXT = 256
# The names conftest gives to its parts, for types only.
Cell = Any


async def until(condition: Callable[[], bool], within_s: float = 60.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true"
        await asyncio.sleep(0.01)


async def test_a_sealed_request_is_answered(cell: Cell, said: str) -> None:
    """The device opens the whole text, then usage, finish reason, model and every node span."""
    outcome = await cell.ask(cell.seal())
    final = outcome.last.final
    assert (outcome.text, outcome.finished, outcome.refusal) == (said, True, None)
    assert (final.finish_reason, final.model) == ("stop", "tiny")
    assert final.output_tokens == len(said)
    assert final.input_tokens == len(cell.engine.prompts[0])
    assert {timing.name for timing in final.timings} == {
        *(Span.NODE, Span.NODE_UNSEAL, Span.NODE_RENDER),
        *(Span.NODE_QUEUE, Span.NODE_PREFILL, Span.NODE_DECODE),
    }


async def test_frames_have_one_size(cell: Cell) -> None:
    """Text and final frames are indistinguishable by length."""
    assert len((await cell.ask(cell.seal())).sizes) == 1


async def test_the_bundle_verifies(cell: Cell) -> None:
    """`Bundle` gives exactly what the announcements carry, and a device's verifier accepts it."""
    async with cell.channel() as channel:
        shown = await node_pb2_grpc.NodeStub(channel).Bundle(node_pb2.BundleRequest())
    assert NodeBundle.from_proto(shown) == cell.node.epoch.bundle
    assert cell.verified().node_id == cell.node.epoch.keys.node_id


async def test_stop_strings_end_the_answer(cell: Cell) -> None:
    """Nothing of the stop string or after it is sent, and the engine is told to end."""
    outcome = await cell.ask(cell.seal(stop=[", w"]))
    assert (outcome.text, outcome.last.final.finish_reason) == ("Hello", "stop")
    await until(lambda: not cell.engine.stage.live)


async def test_length_is_a_reason(cell: Cell) -> None:
    """An answer cut by `max_tokens` says so."""
    outcome = await cell.ask(cell.seal(max_tokens=3))
    assert (outcome.text, outcome.last.final.finish_reason) == ("Hel", "length")


async def test_a_request_runs_once(cell: Cell) -> None:
    """The same envelope again is refused as replayed; the engine saw one prompt."""
    sealed = cell.seal()
    assert (await cell.ask(sealed)).finished
    assert (await cell.ask(sealed)).refusal == "replayed"
    assert len(cell.engine.prompts) == 1


async def test_a_burned_id_is_refused(cell: Cell) -> None:
    """An id that another node burned in the store is refused before the key is unwrapped."""
    sealed = cell.seal()
    await cell.store.burn_request(sealed.header.request_id, ttl_s=60)
    assert (await cell.ask(sealed)).refusal == "replayed"
    assert cell.engine.prompts == []


async def test_a_lying_store_does_not_give_a_second_run(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the store says "new" every time, the node's own set still says "seen"."""

    async def always_new(request_id: bytes, *, ttl_s: int) -> bool:
        return True

    monkeypatch.setattr(cell.store, "burn_request", always_new)
    sealed = cell.seal()
    assert (await cell.ask(sealed)).finished
    assert (await cell.ask(sealed)).refusal == "replayed"


async def test_without_the_store_nothing_is_unwrapped(
    cell: Cell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that does not answer fails the request closed."""

    def unwrap(*arguments: object, **more: object) -> None:
        raise RuntimeError("unwrapped without the store's word")

    monkeypatch.setattr("cloud_node.tree.keyholder.open_request", unwrap)
    cell.store.unavailable = True
    assert (await cell.ask(cell.seal())).refusal == "store_unavailable"


async def test_an_expired_envelope_is_refused(cell: Cell) -> None:
    """Past its expiry an envelope is refused, and its id is not even burned."""
    sealed = seal_request(
        b"",
        [cell.verified()],
        token_hash=b"t" * 32,
        policy_digest=b"p" * 32,
        expires_at=int(time.time()) - 1,
    )
    assert (await cell.ask(sealed)).refusal == "expired"
    assert await cell.store.burn_request(sealed.header.request_id, ttl_s=60)


async def test_another_nodes_envelope_is_refused(cell: Cell) -> None:
    """An envelope that does not name this node is refused."""
    other = cell.world.verified(NodeKey.generate().public_key)
    sealed = seal_request(
        b"",
        [other],
        token_hash=b"t" * 32,
        policy_digest=b"p" * 32,
        expires_at=int(time.time()) + 60,
    )
    assert (await cell.ask(sealed)).refusal == "envelope_rejected"


async def test_a_changed_header_does_not_open(cell: Cell) -> None:
    """One field outside the ciphertext changed: the wrapped key does not open."""
    sealed = cell.seal()
    changed = replace(sealed, header=replace(sealed.header, policy_digest=b"q" * 32))
    assert (await cell.ask(changed)).refusal == "envelope_rejected"


async def test_a_cut_body_is_refused(cell: Cell) -> None:
    """A body without its marked last chunk never reaches the model."""
    sealed = cell.seal()
    assert (await cell.ask(sealed, chunks=sealed.chunks[:-1])).refusal == "bad_request"
    data = sealed.chunks[0].data
    changed = [SealedChunk(data=data[:-1] + bytes([data[-1] ^ 1]), last=True)]
    assert (await cell.ask(cell.seal(), chunks=changed)).refusal == "envelope_rejected"
    assert cell.engine.prompts == []


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": []},
        {"messages": [{"role": "tool", "text": "x"}]},
        {"max_tokens": 0},
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"top_p": 0.0},
        {"top_p": 1.5},
        {"stop": [""]},
        {"stop": ["x"] * 17},
    ],
)
async def test_a_body_out_of_range_fails_inside_the_seal(
    cell: Cell, fields: dict[str, Any]
) -> None:
    """Who is on the way learns of an answer of one frame, not of what was wrong."""
    outcome = await cell.ask(cell.seal(**fields))
    assert (outcome.last.failure, outcome.finished, outcome.refusal) == ("bad_request", True, None)


async def test_noise_in_the_seal_is_a_bad_request(cell: Cell) -> None:
    """Bytes that are no request body, sealed correctly."""
    assert (await cell.ask(cell.seal(b"\xff\xff\xff"))).last.failure == "bad_request"


async def test_what_does_not_fit_is_not_clamped(cell: Cell) -> None:
    """Prompt and answer beyond the context fail; the engine is not asked."""
    outcome = await cell.ask(cell.seal(max_tokens=4000))
    assert (outcome.last.failure, outcome.finished) == ("context_overflow", True)
    assert cell.engine.prompts == []


async def test_a_crashing_engine_fails_its_requests_only(
    cell: Cell, said: str, scripts: list[Script]
) -> None:
    """The request in flight fails as internal; with the next engine the node goes on."""
    cell.engine.hold()
    running = asyncio.create_task(cell.ask(cell.seal()))
    await until(lambda: bool(cell.engine.prompts))
    cell.engine.crash()
    outcome = await running
    assert (outcome.last.failure, outcome.finished) == ("internal", True)
    engine = ScriptedEngine(scripts, vocabulary=TINY_VOCABULARY, context_tokens=CONTEXT)
    cell.tree.connect(engine)
    assert (await cell.ask(cell.seal())).text == said
    await engine.close()


async def test_while_a_piece_is_missing_nothing_is_taken(cell: Cell, said: str) -> None:
    """Refused as busy before the id is burned; taken again when the piece is back."""
    sealed = cell.seal()
    cell.load.missing.add("engine")
    assert (await cell.ask(sealed)).refusal == "busy"
    cell.load.missing.clear()
    assert (await cell.ask(sealed)).text == said


async def test_a_peer_that_leaves_frees_the_engine(cell: Cell) -> None:
    """Cancelling the call ends the request in the engine at once."""
    cell.engine.hold()
    running = asyncio.create_task(cell.ask(cell.seal()))
    await until(lambda: bool(cell.engine.prompts))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await until(lambda: not cell.load.live)
    cell.engine.release()
    await until(lambda: not cell.engine.stage.live)
    assert any(event["event"] == "request_cancelled" for event in cell.events)


@pytest.mark.parametrize("options", [{"max_live": 1}])
async def test_a_full_node_is_busy(cell: Cell) -> None:
    """One request more than there is room for is refused before its id is burned."""
    cell.engine.hold()
    running = asyncio.create_task(cell.ask(cell.seal()))
    await until(lambda: cell.load.live == 1)
    sealed = cell.seal()
    assert (await cell.ask(sealed)).refusal == "busy"
    cell.engine.release()
    assert (await running).finished
    assert (await cell.ask(sealed)).finished


async def test_a_draining_node_finishes_what_it_has(cell: Cell, said: str) -> None:
    """Nothing new is taken, live requests end as ever, and the announcement says so."""
    cell.engine.hold()
    running = asyncio.create_task(cell.ask(cell.seal()))
    await until(lambda: cell.load.live == 1)
    draining = asyncio.create_task(cell.node.drain())
    await until(lambda: cell.load.draining)
    assert (await cell.ask(cell.seal())).refusal == "draining"
    cell.engine.release()
    assert (await running).text == said
    await draining


@pytest.mark.parametrize("options", [{"request_timeout_s": 0.05}])
async def test_a_request_has_a_deadline(cell: Cell) -> None:
    """Past its deadline a request fails as expired, inside the seal, and frees the engine."""
    cell.engine.hold()
    outcome = await cell.ask(cell.seal())
    assert (outcome.last.failure, outcome.finished) == ("expired", True)
    assert not cell.load.live


async def test_another_certificate_is_not_spoken_to(cell: Cell) -> None:
    """A client that pins another certificate gets no connection."""
    wrong = TlsIdentity.generate("other").certificate_pem
    async with open_channel(cell.node.epoch.address, wrong) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await node_pb2_grpc.NodeStub(channel).Bundle(node_pb2.BundleRequest())
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


SECRET = "MARKED-9f1c"


@pytest.mark.parametrize("scripts", [[Script(ids=(1, 2, 3), crash_after=2)]])
async def test_nothing_of_a_request_is_told(cell: Cell, capfd: pytest.CaptureFixture[str]) -> None:
    """Events and standard error of answered, refused and failed requests hold no content."""
    messages = [{"role": "user", "text": SECRET}]
    assert (await cell.ask(cell.seal(messages=messages))).last.failure == "internal"
    await cell.ask(cell.seal(messages=messages, max_tokens=4000))
    await cell.ask(cell.seal(messages=[{"role": SECRET, "text": "x"}]))
    said = cell.output.getvalue() + "".join(capfd.readouterr())
    assert SECRET not in said
    assert "request_failed" in {event["event"] for event in cell.events}


async def test_rotation_brings_new_keys_and_keeps_the_old_port(cell: Cell, said: str) -> None:
    """New keys are announced alone; what was sealed to the old ones still opens."""
    old_channel, sealed = cell.channel(), cell.seal()
    old = cell.node.epoch.keys.node_id
    await cell.node.rotate()
    assert set(await cell.store.roster()) == {cell.node.epoch.keys.node_id} != {old}
    from_old = [
        response async for response in node_pb2_grpc.NodeStub(old_channel).Infer(frames_of(sealed))
    ]
    assert from_old[0].server_nonce
    await old_channel.close()
    assert (await cell.ask(cell.seal())).text == said


async def frames_of(sealed: Any) -> Any:
    yield node_pb2.InferRequest(header=sealed.header.to_proto())
    for chunk in sealed.chunks:
        frame = node_pb2.InferRequest()
        frame.chunk.data, frame.chunk.last = chunk.data, chunk.last
        yield frame


async def test_an_absent_log_keeps_the_last_proof(cell: Cell) -> None:
    """A refresh that fails leaves the bundle as it was; one that works brings a new checkpoint."""
    before = cell.node.epoch.bundle
    cell.log.gone = True
    with pytest.raises(Exception, match="no log"):
        await cell.node.epoch.refresh()
    assert cell.node.epoch.bundle is before
    cell.log.gone = False
    cell.world.append(b"another leaf")
    await cell.node.epoch.refresh()
    assert cell.node.epoch.bundle.proof.checkpoint != before.proof.checkpoint


async def test_a_late_body_is_refused(cell: Cell, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that sends its header and nothing else does not hold a place for long."""
    monkeypatch.setattr("cloud_node.node.front.BODY_S", 0.1)
    monkeypatch.setattr("cloud_node.node.frames.HEAR_OUT_S", 0.1)
    sealed = cell.seal()
    async with cell.channel() as channel:
        call = node_pb2_grpc.NodeStub(channel).Infer()
        await call.write(node_pb2.InferRequest(header=sealed.header.to_proto()))
        assert await call.details() == "expired"
    assert not cell.load.live
