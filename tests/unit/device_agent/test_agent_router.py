"""The agent's router is what the settings name, and refuses what was measured elsewhere."""

import json
import time
from pathlib import Path

import pytest

from device_agent.agent import AsyncAgent
from device_agent.routing import router_of
from device_agent.traces import SpanRecord, TraceStore, traces_path
from inference.catalog.installed import InstalledModel, write_manifest
from lanai.cli.mount import run
from lanai.errors import ConfigError
from lanai.folders import Folders
from lanai.settings import Settings
from lanai.telemetry import Span
from router import Router, shipped_estimator

OTHER = "f" * 64


@pytest.fixture
def home(tmp_path: Path, monkeypatch) -> Folders:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    return Folders.standard()


@pytest.fixture
def installed(home: Folders) -> str:
    """A device model under the default name, with weights of its own; its hash."""
    folder = home.models / Settings().device_model
    folder.mkdir(parents=True)
    (folder / "weights.gguf").write_bytes(b"four")
    write_manifest(
        InstalledModel(
            name=folder.name,
            path=folder,
            format="gguf",
            file="weights.gguf",
            chat_form=None,
            architecture="llama",
            parameters=4,
            bits_per_weight=8.0,
            bytes=4,
            sha256="ab" * 32,
            license="Apache-2.0",
            source="test",
        )
    )
    return "ab" * 32


@pytest.fixture
def estimator_of(tmp_path: Path):
    """A trained estimator's file, for device weights of a hash."""

    def write(sha256: str) -> Path:
        document = shipped_estimator().to_json_dict() | {"predictive": True}
        for bound in (document["pair"]["device"], *document["isotonic"]):
            bound["weights_sha256" if "names" in bound else "model_sha256"] = sha256
        path = tmp_path / "estimator.json"
        path.write_text(json.dumps(document))
        return path

    return write


async def test_the_agent_weighs_with_the_estimator_of_the_settings(
    home, installed, estimator_of
) -> None:
    """From the file, not the shipped one."""
    path = estimator_of(installed)
    agent = AsyncAgent.from_config(folders=home, estimator_file=path)
    used = agent._runtime.router.estimator
    await agent.close()
    assert used.predictive
    assert used.digest == Router.standard(estimator_file=path).estimator.digest
    assert used.digest != shipped_estimator().digest


def test_an_estimator_of_other_device_weights_is_refused(home, installed, estimator_of) -> None:
    """By hash, though the name is the same; both hashes are told, and what to do."""
    path = estimator_of(OTHER)
    with pytest.raises(ConfigError) as raised:
        AsyncAgent.from_config(folders=home, estimator_file=path)
    assert OTHER[:12] in raised.value.message
    assert installed[:12] in raised.value.message
    assert "lanai route train" in raised.value.hint


def test_without_the_device_model_nothing_is_compared(home, estimator_of) -> None:
    """Requests say that the model is missing; the estimator is matched when it is there."""
    settings = Settings(estimator_file=estimator_of(OTHER))
    assert router_of(settings, home).estimator.pair.device.weights_sha256 == OTHER


def test_the_shipped_estimator_refuses_no_device(home, installed) -> None:
    """For another pair it is left out at the request, and rules decide."""
    assert router_of(Settings(), home).estimator.digest == shipped_estimator().digest


@pytest.mark.parametrize("key", ["policy_file", "shadow_policy_file", "estimator_file"])
def test_a_file_that_is_not_there_is_a_configuration_error(home, tmp_path, key) -> None:
    """Named in the message."""
    with pytest.raises(ConfigError, match=r"missing\.file"):
        AsyncAgent.from_config(folders=home, **{key: tmp_path / "missing.file"})


def test_a_shadow_policy_of_the_settings_is_asked(home, tmp_path) -> None:
    """The agent's router has it beside the first."""
    path = tmp_path / "shadow.toml"
    shipped = Path(__file__).parents[3] / "router" / "default_policy.toml"
    path.write_text(shipped.read_text().replace("= 0.05", "= 0.01"))
    assert router_of(Settings(shadow_policy_file=path), home).shadow is not None
    assert router_of(Settings(), home).shadow is None


def test_doctor_shows_a_refused_estimator(
    home, installed, estimator_of, monkeypatch, capsys
) -> None:
    """Neither side is ready, the router is at fault, and the hint says what to do."""
    monkeypatch.setenv("LANAI_ESTIMATOR_FILE", str(estimator_of(OTHER)))
    assert run(["doctor", "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    [check] = [each for each in document["checks"] if each["name"] == "router"]
    assert not check["ok"]
    assert OTHER[:12] in check["reason"]
    assert "lanai route train" in check["hint"]
    assert document["device"]["reason"] == document["cloud"]["reason"] == check["reason"]


def test_doctor_shows_which_router_decides(home, monkeypatch, capsys) -> None:
    """Digests of the policy and the estimator, as decisions carry them."""
    run(["doctor", "--json"])
    document = json.loads(capsys.readouterr().out)
    [check] = [each for each in document["checks"] if each["name"] == "router"]
    assert check["ok"]
    assert shipped_estimator().digest[:12] in check["reason"]


async def test_the_agent_drops_traces_older_than_the_setting(home) -> None:
    """With the first request it stores: the old goes, the new and the young stay."""
    day_ns = 24 * 3600 * 10**9
    store = TraceStore.open(traces_path(home))
    for days in (1, 8):
        began = time.time_ns() - days * day_ns
        root = SpanRecord(
            trace_id=f"{days:032x}",
            span_id="1",
            parent_id=None,
            name=Span.REQUEST,
            start_ns=began,
            end_ns=began + 1,
            attributes={},
        )
        store.save([root])
    agent = AsyncAgent.from_config(folders=home, trace_keep_days=7)
    await agent._runtime.tracing.request().finish()
    await agent.close()
    kept = {each.trace_id for each in store.traces()}
    store.close()
    assert len(kept) == 2
    assert f"{1:032x}" in kept
