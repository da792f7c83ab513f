"""Requests that leave the device, or must not."""

import json
from dataclasses import replace

import pytest

from device_agent.enrolled import EnrolledCloud
from device_agent.ledger import Ledger
from lanai.errors import (
    CloudRefused,
    CloudUnavailable,
    ContextOverflow,
    EnvelopeRejected,
    EvidenceRejected,
    LedgerError,
    RefusalCode,
    Rejection,
    StreamInterrupted,
    TrustRootRejected,
)
from lanai.telemetry import Span
from router.vocabulary import DataClass, Destination, Mode, Reason, Stage

REJECTED = EvidenceRejected("evidence was not accepted", reason=Rejection.MEASUREMENT)
CUT = StreamInterrupted("the stream was cut", received=2)


@pytest.mark.parametrize(
    "held",
    [
        {"data_class": DataClass.SECRET},
        {"consent": False},
        {"mode": Mode.ONLY_ON_DEVICE},
    ],
)
@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.PREFER_IN_CLOUD])
async def test_what_must_stay_touches_no_network(make_bench, scripted, held, mode) -> None:
    """Not even a status is asked: the cloud here fails the test when it is touched."""
    bench = make_bench(cloud=scripted.ForbiddenCloud())
    async with bench.agent as agent:
        reply = await agent.session(**{"mode": mode} | held).respond("hello")
    assert reply.source is Destination.DEVICE
    assert bench.ledger.disclosures() == ()


async def test_secret_data_over_the_context_is_an_error_not_a_leak(make_bench, scripted) -> None:
    """The one rule that would escalate cannot outvote the data class."""
    bench = make_bench(cloud=scripted.ForbiddenCloud())
    async with bench.agent as agent:
        with pytest.raises(ContextOverflow):
            await agent.session(data_class=DataClass.SECRET).respond("x" * 500)


async def test_a_long_prompt_escalates_by_the_named_rule(make_bench, scripted) -> None:
    """Over the device's context the cloud answers; the reply carries the receipt."""
    cloud = scripted.Cloud()
    bench = make_bench(cloud=cloud)
    async with bench.agent as agent:
        session = agent.session(instructions="be brief")
        reply = await session.respond("x" * 500)
        assert session.transcript[-1].text == "from the cloud"
    assert reply.text == "from the cloud"
    assert reply.source is Destination.CLOUD
    assert reply.decision.reason is Reason.OVER_DEVICE_CONTEXT
    assert reply.receipt is not None
    assert reply.receipt.node == "aa" * 32
    assert (reply.model, reply.finish_reason) == ("big", "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (21, 7)
    assert reply.usage.tokens_per_s == pytest.approx(7 / 0.006)
    assert [m.role for m in cloud.asked[0].messages] == ["system", "user"]
    assert bench.engine.seen == []


async def test_the_status_is_remembered_for_a_while(make_bench, scripted) -> None:
    """Two requests in a row ask once."""
    cloud = scripted.Cloud()
    bench = make_bench(cloud=cloud)
    async with bench.agent as agent:
        session = agent.session(mode=Mode.PREFER_IN_CLOUD)
        await session.respond("one")
        await session.respond("two")
    assert cloud.statuses == 1


async def test_the_intent_is_on_disk_before_the_cloud_is_opened(make_bench, scripted) -> None:
    """What a second reader sees at the moment of opening: an intent without an outcome."""
    seen = []
    cloud = scripted.Cloud()
    bench = make_bench(cloud=cloud)
    cloud.at_opening = lambda: seen.extend(Ledger(bench.ledger.path).disclosures())
    async with bench.agent as agent:
        reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("a private thing")
    assert [(each.id, each.outcome) for each in seen] == [(reply.trace_id, None)]
    (whole,) = bench.ledger.disclosures()
    assert whole.outcome == "answered"
    assert (whole.reason, whole.mode) == ("mode_prefer_in_cloud", "prefer_in_cloud")
    assert (whole.bytes_sent, whole.bytes_received) == (4096, 2048)
    assert whole.nodes == ("aa" * 32, "dd" * 32)
    assert (whole.node, whole.evidence) == ("aa" * 32, "unsafe_software")
    assert b"private" not in bench.ledger.path.read_bytes()


async def test_without_a_ledger_nothing_is_sent(make_bench, scripted, tmp_path) -> None:
    """The cloud is not opened; the device answers where the mode allows, else the error stands."""
    (tmp_path / "blocked").write_text("a file where the ledger's folder should be")
    cloud = scripted.Cloud()
    bench = make_bench(cloud=cloud, ledger=Ledger(tmp_path / "blocked" / "ledger.jsonl"))
    async with bench.agent as agent:
        reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("hello")
        with pytest.raises(LedgerError):
            await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("hello")
    assert cloud.asked == []
    assert (reply.source, reply.decision.reason) == (Destination.DEVICE, Reason.CLOUD_FAILED)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (CloudUnavailable("no relay"), Reason.CLOUD_FAILED),
        (CloudRefused("busy", refusal=RefusalCode.BUSY), Reason.CLOUD_FAILED),
        (REJECTED, Reason.CLOUD_NOT_VERIFIED),
    ],
)
async def test_before_the_first_character_the_device_takes_over(
    make_bench, scripted, error, reason
) -> None:
    """And the reply says so: stage fallback, the cause as reason, no receipt."""
    bench = make_bench(cloud=scripted.Cloud(refuses=error))
    async with bench.agent as agent:
        reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("hello")
    assert reply.text == "from the device"
    assert reply.receipt is None
    assert (reply.decision.stage, reply.decision.reason) == (Stage.FALLBACK, reason)
    (left,) = bench.ledger.disclosures()
    assert left.outcome == type(error).__name__
    assert left.bytes_sent == (0 if error is REJECTED else None)


async def test_only_in_cloud_raises_what_the_cloud_raised(make_bench, scripted) -> None:
    """No other side is tried; a rejected node is exit code 10, the transcript is unchanged."""
    bench = make_bench(cloud=scripted.Cloud(refuses=REJECTED))
    async with bench.agent as agent:
        session = agent.session(mode=Mode.ONLY_IN_CLOUD)
        with pytest.raises(EvidenceRejected) as raised:
            await session.respond("hello")
        assert session.transcript == ()
    assert raised.value.exit_code == 10
    assert bench.engine.seen == []


async def test_a_cloud_without_an_accepted_node_is_a_trust_error(make_bench, scripted) -> None:
    """Known from the status already: nothing is opened, the verifier's word is the reason."""
    reason = "0 of 2 nodes: measurement"
    state = replace(scripted.READY, verified_nodes=0, reason=reason, hint="update")
    cloud = scripted.Cloud(state=state)
    bench = make_bench(cloud=cloud)
    async with bench.agent as agent:
        with pytest.raises(EvidenceRejected) as raised:
            await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("hello")
        reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("hello")
    assert raised.value.reason is Rejection.MEASUREMENT
    assert reply.decision.reason is Reason.CLOUD_NOT_VERIFIED
    assert cloud.asked == []
    assert bench.ledger.disclosures() == ()


async def test_a_refused_trust_root_costs_the_cloud_only(make_bench) -> None:
    """The device answers; a request that insists on the cloud raises what refused the root."""
    refused = TrustRootRejected("wrong profile", reason=Rejection.PROFILE, hint="enrol again")
    bench = make_bench(enrolled=EnrolledCloud(None, refused=refused))
    async with bench.agent as agent:
        state = await agent.availability()
        reply = await agent.session().respond("hello")
        with pytest.raises(TrustRootRejected):
            await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("hello")
    assert (state.cloud.ready, state.cloud.hint) == (False, "enrol again")
    assert reply.decision.reason is Reason.CLOUD_NOT_VERIFIED


@pytest.mark.parametrize(
    "error", [CUT, EnvelopeRejected("a frame did not open", reason=Rejection.DECRYPTION)]
)
async def test_a_break_after_the_first_character_is_an_error(make_bench, scripted, error) -> None:
    """No reply, no other source, transcript as before; what was shown stays shown."""
    bench = make_bench(cloud=scripted.Cloud(breaks=error))
    async with bench.agent as agent:
        session = agent.session(mode=Mode.PREFER_IN_CLOUD)
        async with session.stream("hello") as stream:
            shown = [(await anext(stream)).text for _ in range(2)]
            with pytest.raises(type(error)):
                await anext(stream)
        assert session.transcript == ()
    assert "".join(shown) == "from the cloud"
    assert bench.engine.seen == []
    (left,) = bench.ledger.disclosures()
    assert left.outcome == type(error).__name__
    assert left.bytes_sent == 4096
    assert bench.store is not None


async def test_a_break_before_the_first_character_falls_back(make_bench, scripted) -> None:
    """Nothing was shown, so the device may still answer."""
    bench = make_bench(cloud=scripted.Cloud(pieces=("",), breaks=CUT))
    async with bench.agent as agent:
        reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("hello")
    assert reply.source is Destination.DEVICE
    assert reply.text == "from the device"


async def test_leaving_a_cloud_stream_early_closes_it(make_bench, scripted) -> None:
    """The sealed stream is closed, the ledger says cancelled."""
    cloud = scripted.Cloud()
    bench = make_bench(cloud=cloud)
    async with bench.agent as agent:
        async with agent.session(mode=Mode.PREFER_IN_CLOUD).stream("hello") as stream:
            await anext(aiter(stream))
            assert cloud.open_streams == 1
        assert cloud.open_streams == 0
    assert [each.outcome for each in bench.ledger.disclosures()] == ["cancelled"]


async def test_the_trace_holds_the_node_s_steps(make_bench, scripted, tmp_path) -> None:
    """The node's timings are children under the stream; words we do not know are left out."""
    from device_agent.traces import TraceStore

    bench = make_bench(cloud=scripted.Cloud())
    async with bench.agent as agent:
        reply = await agent.session(mode=Mode.PREFER_IN_CLOUD).respond("a private thing")
    store = TraceStore.open(tmp_path / "traces.sqlite")
    spans = {span.name: span for span in store.spans(reply.trace_id)}
    decision = store.decision(reply.trace_id)
    store.close()
    assert spans[Span.NODE].parent_id == spans[Span.CLOUD_STREAM].span_id
    assert spans[Span.NODE_PREFILL].parent_id == spans[Span.NODE].span_id
    assert spans[Span.NODE_DECODE].duration_ms == pytest.approx(6.0)
    assert spans[Span.NODE_PREFILL].start_ns - spans[Span.NODE].start_ns == 300_000
    assert spans[Span.CLOUD_SEAL].parent_id == spans[Span.CLOUD].span_id
    assert spans[Span.CLOUD_STREAM].start_ns == spans[Span.CLOUD_SEAL].end_ns
    assert spans[Span.CLOUD_STREAM].parent_id == spans[Span.CLOUD].span_id
    assert spans[Span.CLOUD].parent_id == spans[Span.REQUEST].span_id
    assert not any("word" in name for name in spans)
    assert decision == reply.decision.to_json_dict()
    everything = json.dumps([dict(span.attributes) for span in spans.values()])
    assert "private" not in everything
