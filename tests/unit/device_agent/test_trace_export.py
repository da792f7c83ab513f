"""Stored traces as OTLP, as lines and as a page; a receiver on loopback takes them."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from device_agent.cli.trace import trace
from device_agent.traces import SpanRecord, TraceStore, traces_path
from device_agent.tracing import Tracing
from lanai.errors import CloudUnavailable, UsageError
from lanai.folders import Folders
from lanai.telemetry import Attr, Span
from router import CloudFacts, DataClass, DeviceFacts, Mode, RequestFacts, Router
from router.policy import Policy
from router.recorded import Realized

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def stored(tmp_path: Path, monkeypatch) -> Iterator[TraceStore]:
    """One request with a tree of three steps and its decision."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    facts = RequestFacts(
        mode=Mode.AUTO,
        data_class=DataClass.PERSONAL,
        consent=None,
        input_tokens=5,
        max_output_tokens=9,
        device=DeviceFacts(ready=True, context_tokens=99, model="small"),
        cloud=CloudFacts(configured=False),
    )
    decision = Router(Policy.load(None)).begin(facts).eligibility()
    decision = decision.ended(TRACE_ID, Realized(outcome="answered", seconds=0.25))
    spans = [
        record("00f067aa0ba902b7", None, Span.REQUEST, 0, 1000, {Attr.FINISH_REASON: "stop"}),
        record("00f067aa0ba902b8", "00f067aa0ba902b7", Span.ROUTE, 10, 20, {}),
        record(
            "00f067aa0ba902b9",
            "00f067aa0ba902b7",
            Span.DEVICE_DECODE,
            20,
            900,
            {Attr.OUTPUT_TOKENS: 7, Attr.ERROR: "EngineCrashed", Attr.TTFT_MS: 1.5},
        ),
    ]
    store = TraceStore.open(traces_path(Folders.standard()))
    store.save(spans, decision=decision.to_json_dict())
    yield store
    store.close()


def record(span_id, parent_id, name, start_us, end_us, attributes) -> SpanRecord:
    return SpanRecord(
        trace_id=TRACE_ID,
        span_id=span_id,
        parent_id=parent_id,
        name=name,
        start_ns=10**18 + start_us * 1000,
        end_ns=10**18 + end_us * 1000,
        attributes=attributes,
    )


def run(*arguments: str) -> str:
    done = CliRunner().invoke(trace, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def test_otlp_json_has_ids_times_kinds_and_typed_values(stored) -> None:
    """As the OTLP specification writes JSON: hex ids, times as strings, a list of reasons."""
    (resource,) = json.loads(run("export"))["resourceSpans"]
    request, route, decode = resource["scopeSpans"][0]["spans"]
    assert request["traceId"] == TRACE_ID
    assert (request["parentSpanId"], route["parentSpanId"]) == ("", request["spanId"])
    assert decode["endTimeUnixNano"] == str(10**18 + 900_000)
    assert decode["status"]["code"] == 2
    values = {each["key"]: each["value"] for each in decode["attributes"]}
    assert values[Attr.OUTPUT_TOKENS] == {"intValue": "7"}
    assert values[Attr.TTFT_MS] == {"doubleValue": 1.5}
    assert request["attributes"][0]["value"]["arrayValue"]["values"] == [{"stringValue": "stop"}]


def test_lines_hold_record_decision_and_spans(stored, tmp_path) -> None:
    """One request a line, in a file that only this user reads."""
    out = tmp_path / "traces.jsonl"
    run("export", "--format", "jsonl", "--out", str(out))
    (line,) = out.read_text().splitlines()
    row = json.loads(line)
    assert row["decision"]["realized"]["outcome"] == "answered"
    assert len(row["spans"]) == 3
    assert out.stat().st_mode & 0o077 == 0


def test_the_page_is_whole_and_needs_nothing_else(stored) -> None:
    """Tree, bars, sentences; no script, no address."""
    page = Path(run("ui").strip())
    text = page.read_text()
    assert "Runs on the device, decided before the model ran: no cluster is enrolled." in text
    assert "  device.decode" in text
    assert 'class="bar wrong"' in text
    assert not any(word in text for word in ("<script", "http://", "https://"))
    assert page.stat().st_mode & 0o077 == 0


def test_an_empty_store_gives_an_empty_page(tmp_path, monkeypatch) -> None:
    """No trace yet is no error."""
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    assert "None yet." in Path(run("ui").strip()).read_text()


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[ExportTraceServiceRequest]]]:
    """Takes OTLP over HTTP, in protobuf, as viewers do."""
    taken: list[ExportTraceServiceRequest] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.path == "/v1/traces"
            taken.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", taken
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_receiver_takes_what_was_stored(stored, receiver) -> None:
    """Protobuf with the same ids: ``trace export --to``."""
    url, taken = receiver
    run("export", "--to", f"{url}/v1/traces")
    (request,) = taken
    spans = request.resource_spans[0].scope_spans[0].spans
    assert {span.trace_id.hex() for span in spans} == {TRACE_ID}
    assert spans[1].parent_span_id == spans[0].span_id


async def test_live_spans_reach_the_address_of_the_usual_variable(
    make_bench, receiver, monkeypatch
) -> None:
    """``OTEL_EXPORTER_OTLP_ENDPOINT``: GenAI and ``lanai.route.*`` attributes, and no content."""
    url, taken = receiver
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    bench = make_bench(tracing=Tracing(None, environ={"OTEL_EXPORTER_OTLP_ENDPOINT": url}))
    async with bench.agent as agent:
        await agent.session().respond("a very private prompt")
    spans = [
        span
        for request in taken
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    keys = {each.key for span in spans for each in span.attributes}
    assert {Attr.OPERATION, Attr.PROVIDER, Attr.MODEL, Attr.INPUT_TOKENS} <= keys
    assert {Attr.ROUTE, Attr.REASON, Attr.POLICY, Attr.DECISION_US, Attr.OUTCOME} <= keys
    assert not any(
        word in request.SerializeToString() for request in taken for word in (b"private", b"from")
    )


def test_nobody_there_is_an_error_with_a_hint(stored) -> None:
    """And so is an address that is none, or two forms at once."""
    with pytest.raises(CloudUnavailable):
        run("export", "--to", "http://127.0.0.1:9/v1/traces")
    for wrong in (("--to", "file:///etc"), ("--to", "http://x", "--format", "jsonl")):
        with pytest.raises(UsageError):
            run("export", *wrong)
