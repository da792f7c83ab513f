"""The device's commands, as people and measurements call them."""

import json
from pathlib import Path

import pytest

from device_agent.agent import AsyncAgent
from device_agent.ledger import Ledger, ledger_path
from device_agent.retention import WallReading
from device_agent.traces import SpanRecord, TraceStore, traces_path
from lanai.cli.mount import run
from lanai.folders import Folders

DECISION = {"route", "stage", "reason", "confidence", "threshold", "counterfactual", "signals"}
USAGE = {"input_tokens", "output_tokens", "ttft_ms", "tokens_per_s"}
RECEIPT = {"node", "measurement", "evidence", "log_checkpoint", "shape"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Folders:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    return Folders.standard()


@pytest.fixture
def commands(make_bench, monkeypatch, home):
    """`lanai` with a scripted agent; returns the bench it will use."""

    def install(**parts):
        bench = make_bench(**parts)

        def from_config(
            *, mode: str | None = None, folders: Folders | None = None, **_: object
        ) -> AsyncAgent:
            settings = bench.agent._settings.model_copy(update={"mode": mode or "auto"})
            return AsyncAgent(bench.agent._runtime, settings)

        monkeypatch.setattr(AsyncAgent, "from_config", from_config)
        return bench

    return install


def test_respond_prints_the_answer_and_says_the_rest(commands, capsys) -> None:
    """The answer alone on stdout; one line with source, reason and trace on stderr."""
    commands()
    assert run(["respond", "hello"]) == 0
    printed = capsys.readouterr()
    assert printed.out == "from the device\n"
    assert len(printed.err.splitlines()) == 1
    assert "device (scripted): cloud_not_configured; trace " in printed.err


def test_respond_asks_the_model_that_is_named(home, capsys) -> None:
    """The device's, for this request; one that is not there is said with the way to get it."""
    assert run(["respond", "hello", "--model", "qwen3-0.6b", "--mode", "only_on_device"]) == 1
    assert "`lanai models pull qwen3-0.6b`" in capsys.readouterr().err


def test_respond_streams(commands, capsys) -> None:
    """The same text, as it comes."""
    commands()
    assert run(["respond", "hello", "--stream"]) == 0
    assert capsys.readouterr().out == "from the device\n"


def test_respond_json_on_the_device(commands, capsys) -> None:
    """The agreed keys; no receipt, since nothing left."""
    commands()
    assert run(["respond", "hello", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {"text", "source", "model", "decision", "usage", "trace_id"} <= set(document)
    assert set(document["decision"]) >= DECISION
    assert set(document["usage"]) == USAGE
    assert "receipt" not in document


def test_respond_json_in_the_cloud(commands, scripted, capsys) -> None:
    """With the receipt's agreed keys."""
    commands(cloud=scripted.Cloud())
    assert run(["respond", "x" * 500, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["source"], document["decision"]["route"]) == ("cloud", "cloud")
    assert set(document["receipt"]) == RECEIPT


def test_respond_reads_standard_input(commands, capsys, monkeypatch, tmp_path) -> None:
    """`-` is the prompt from stdin."""
    bench = commands()
    (tmp_path / "prompt").write_text("from a pipe")
    with (tmp_path / "prompt").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert run(["respond", "-", "--max-tokens", "4", "--system", "be brief"]) == 0
    prompt = "".join(map(chr, bench.engine.seen[0][0]))
    assert prompt == "system: be brief\nuser: from a pipe\n"
    assert capsys.readouterr().out == "from\n"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["respond"], 2),
        (["respond", "hello", "--mode", "sometimes"], 2),
        (["respond", "hello", "--max-tokens", "0"], 2),
        (["respond", "hello", "--schema", "x.json"], 2),
        (["respond", "hello", "--mode", "only_in_cloud"], 1),
        (["trace", "show", "ffff"], 1),
    ],
)
def test_errors_are_one_line_and_a_hint(commands, capsys, arguments, code) -> None:
    """On stderr, with the agreed exit codes; stdout stays empty."""
    commands()
    assert run(arguments) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("lanai: ")
    assert "\nhint: " in printed.err
    assert "Traceback" not in printed.err


def test_chat_survives_errors_and_ends_at_exit(
    commands, scripted, capsys, monkeypatch, tmp_path
) -> None:
    """A crash is said, the next line is answered, what follows /exit is not read."""
    bench = commands(engines=[scripted.Engine(crash_after=0), scripted.Engine()])
    (tmp_path / "lines").write_text("one\n\ntwo\n/exit\nthree\n")
    with (tmp_path / "lines").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert run(["chat"]) == 0
    printed = capsys.readouterr()
    assert printed.out.split("\n", 1)[1] == "from the device\n"
    assert "lanai: the engine ended" in printed.err
    assert len(bench.loader.engines[1].seen) == 1


def test_available_has_the_agreed_keys(commands, scripted, capsys) -> None:
    """Device and cloud, each with ready, reason and hint."""
    commands(cloud=scripted.Cloud())
    assert run(["available", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"device", "cloud"}
    assert set(document["device"]) == {"ready", "reason", "hint"}
    counts = {"verified_nodes", "most_nodes", "tokens_left", "tokens_lost"}
    assert set(document["cloud"]) == {"ready", "reason", "hint"} | counts


def test_available_fails_when_nothing_is(commands, capsys) -> None:
    """Exit 1, and a hint for each."""
    commands(installed=False)
    assert run(["available"]) == 1
    assert capsys.readouterr().out.count("hint: ") == 2


def test_doctor_is_well_when_the_device_answers(commands, capsys) -> None:
    """It runs the engine once; the cloud may be missing."""
    bench = commands()
    assert run(["doctor", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["device"]["ready"]
    assert not document["cloud"]["ready"]
    assert {"python", "torch", "traces", "ledger"} <= {c["name"] for c in document["checks"]}
    (kernels,) = [check for check in document["checks"] if check["name"] == "kernels"]
    assert kernels["ok"]
    assert len(bench.engine.seen) == 1


def test_doctor_says_that_there_are_no_kernels(commands, monkeypatch, capsys) -> None:
    """Torch runs instead: said, with what to do, and the device is ready all the same."""
    commands()
    monkeypatch.setattr("inference.kernels.load_kernels", lambda: None)
    assert run(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "fault kernels        none: packed models run in torch" in said
    assert "hint: install a C++ compiler" in said


def test_doctor_names_a_damaged_store(commands, home, capsys) -> None:
    """A fault with its hint; the device is still ready."""
    commands()
    home.state.mkdir(parents=True)
    traces_path(home).write_bytes(b"not a database, " * 100)
    assert run(["doctor"]) == 0
    assert "fault traces" in capsys.readouterr().out


def test_doctor_says_how_often_the_clock_jumped(commands, home, capsys) -> None:
    """The ledger's, as the traces': entries are held by clocks of their own."""
    commands()
    for wall in (0, 10**18):
        reading = WallReading(wall_ns=wall, boot="one", up_ns=0)
        Ledger(ledger_path(home), clocks=lambda now=reading: now).intend(
            id=str(wall), reason="r", mode="auto", data_class="public"
        )
    assert run(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "2 disclosures, 0 damaged lines, the clock jumped (times: 1)" in said


def test_doctor_fails_when_the_device_cannot_answer(commands, scripted, capsys) -> None:
    """The files are there but the engine crashes: not ready."""
    commands(engines=[scripted.Engine(crash_after=0)])
    assert run(["doctor"]) == 1
    assert "the engine ended" in capsys.readouterr().out


def test_trace_list_and_show(home, capsys) -> None:
    """The tree fits 80 columns, shows durations and how many guessed tokens were right."""
    store = TraceStore.open(traces_path(home))
    decision = {"route": "cloud", "stage": "prefill", "reason": "low_confidence"}
    rows = [("1", None, "lanai.request", 0), ("2", "1", "lanai.cloud", 5_000_000)]
    rows.append(("3", "2", "lanai.cloud.stream", 6_000_000))
    guesses = {"lanai.speculation.drafted": 136, "lanai.speculation.accepted": 133}
    store.save(
        [
            SpanRecord(
                trace_id="ab" * 16, span_id=i, parent_id=p, name=n, start_ns=s, end_ns=9_000_000,
                attributes=guesses if i == "3" else {},
            )
            for i, p, n, s in rows
        ],
        decision=decision | {"counterfactual": "would stay at 0.6"},
    )  # fmt: skip
    store.close()
    assert run(["trace", "list"]) == 0
    assert "low_confidence" in capsys.readouterr().out
    assert run(["trace", "show", "abab"]) == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "└ cloud" in shown
    assert "  └ cloud.stream" in shown
    assert "9.0 ms" in shown
    assert "guessed 133/136" in shown
    assert run(["trace", "show", "abab", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["spans"]) == 3
    assert document["decision"]["reason"] == "low_confidence"


def test_report_shows_and_exports(home, capsys, tmp_path) -> None:
    """A row for each disclosure, and the same as JSON."""
    ledger = Ledger(ledger_path(home))
    assert run(["report"]) == 0
    assert "nothing has left" in capsys.readouterr().err
    row = ledger.intend(id="one", reason="low_confidence", mode="auto", data_class="public")
    ledger.conclude(row, "answered", bytes_sent=1234, bytes_received=5, node="ab" * 32)
    assert run(["report", "--export", str(tmp_path / "out.json")]) == 0
    assert json.loads((tmp_path / "out.json").read_text())["disclosures"][0]["bytes_sent"] == 1234
    capsys.readouterr()
    assert run(["report"]) == 0
    shown = capsys.readouterr().out
    assert "1,234" in shown
    assert "abababababab" in shown
    assert run(["report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["damaged"] == 0


def test_report_as_a_page(home, capsys) -> None:
    """One file of this user's alone, with no script and nothing to fetch; its path is printed."""
    ledger = Ledger(ledger_path(home))
    row = ledger.intend(id="one", reason="<script>", mode="auto", data_class="public")
    ledger.conclude(row, "answered", bytes_sent=1234, node="ab" * 32, measurement="cd" * 32)
    assert run(["report", "--ui"]) == 0
    path = Path(capsys.readouterr().out.strip())
    page = path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert "1,234" in page
    assert "cdcdcdcdcdcdcdcd" in page
    assert "&lt;script&gt;" in page
    assert not [word for word in ("<script", "http:", "https:", "src=") if word in page]
    assert run(["report", "--ui", "--json"]) == 2
