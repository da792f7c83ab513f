"""``lanai models delta``, and ``lanai models pack --delta``."""

import json
from pathlib import Path
from typing import Any

import pytest

from inference.adapters import Base
from inference.adapters.base import config_at
from inference.catalog.copying import digest_of
from inference.catalog.entries import CatalogEntry
from inference.catalog.installed import read_manifest
from inference.decoder import load_decoder
from inference.testing import write_tiny_model
from inference.testing.random_adapter import write_random_adapter
from lanai.cli.mount import run

CONTRACT = {"bits_per_weight", "body_bits_per_weight", "bytes", "per_tensor"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANAI_DEVICE_THREADS", "1")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("source") / "noise")


@pytest.fixture(scope="module")
def packed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With an adapter that is always on."""
    folder = tmp_path_factory.mktemp("packed")
    pack = ["models", "pack", str(source), "--bits", "4.5", "--out"]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("LANAI_HOME", str(folder / "home"))
        assert run([*pack, str(folder / "bare")]) == 0
        weights = read_manifest(folder / "bare").sha256
        base = Base(name="bare", architecture="llama", sha256=weights)
        write_random_adapter(folder / "back", config_at(source), base=base, kind="recovery")
        assert run([*pack, str(folder / "it"), "--recovery", str(folder / "back")]) == 0
    return folder / "it"


@pytest.fixture
def delta(source: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    out = tmp_path / "it.delta"
    assert run(["models", "delta", str(packed), str(source), "--out", str(out)]) == 0
    assert "MB, of" in capsys.readouterr().err
    return out


def test_a_delta_gives_the_model_again(
    source: Path, packed: Path, delta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The digest of weights and adapter together; it runs; the facts of any packing."""
    out = tmp_path / "again"
    pack = ["models", "pack", str(source), "--delta", str(delta), "--out", str(out), "--json"]
    assert run(pack) == 0
    facts: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert facts.keys() >= CONTRACT
    made, model = read_manifest(out), read_manifest(packed)
    assert (made.sha256, made.bytes, made.adapter) == (model.sha256, model.bytes, "adapter")
    assert facts["sha256"] == model.sha256
    assert load_decoder(out, context_tokens=16).config.layers == 2
    assert run(["models", "show", str(out), "--verify"]) == 0


def test_json_says_both_sizes(
    source: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the file and of the model it stands for."""
    out = tmp_path / "it.delta"
    make = ["models", "delta", str(packed), str(source), "--out", str(out), "--json"]
    assert run(make) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["bytes"] == out.stat().st_size
    assert facts["of_bytes"] == read_manifest(packed).bytes
    assert run(make) == 2  # nothing is written over
    assert "hint:" in capsys.readouterr().err


def test_a_delta_of_other_weights_is_refused(
    delta: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Said before anything is computed; nothing is left."""
    other = write_tiny_model(tmp_path / "other", seed=8)
    out = tmp_path / "no"
    assert run(["models", "pack", str(other), "--delta", str(delta), "--out", str(out)]) == 2
    assert "other weights than those of other" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_that_is_no_delta_is_said_so(
    source: Path, packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A sound safetensors file of another kind, and noise: a line, a hint, exit code 1."""
    noise = tmp_path / "noise.delta"
    noise.write_bytes(b"nothing of the kind")
    for file in (packed / "model.safetensors", noise):
        arguments = ["--delta", str(file), "--out", str(tmp_path / "no")]
        assert run(["models", "pack", str(source), *arguments]) == 1
        assert "hint:" in capsys.readouterr().err
        assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "more",
    [["--bits", "3.5"], ["--keep-codes"], ["--group", "32"], ["--recovery", "."], ["--anew"]],
)
def test_a_delta_says_how_to_pack(
    source: Path, delta: Path, tmp_path: Path, more: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """An option that says it too contradicts: exit code 2."""
    arguments = ["--delta", str(delta), "--out", str(tmp_path / "no"), *more]
    assert run(["models", "pack", str(source), *arguments]) == 2
    assert "--delta says how to pack" in capsys.readouterr().err


def entry(name: str, source: Path, **changes: Any) -> CatalogEntry:
    digest = digest_of(source / "model.safetensors")
    facts: dict[str, Any] = {"format": "packed", "file": "model.safetensors", "license": "none"}
    facts |= {"architecture": "llama", "parameters": 1, "weight_bytes": 1, "bytes": 1}
    return CatalogEntry(name=name, sha256=digest, **facts, **changes)


def test_a_packing_that_was_trained_and_ships_is_taken(
    source: Path,
    packed: Path,
    delta: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """For the bits it was trained for and the very source, and it is said; --anew computes."""
    of, small = entry("of", source), entry("small", source, delta_of="of", body_bits=4.5)
    monkeypatch.setattr(CatalogEntry, "delta", property(lambda it: it.delta_of and delta))
    monkeypatch.setattr("inference.cli.pack.load_entries", lambda: {"of": of, "small": small})
    bare = read_manifest(packed.parent / "bare").sha256

    def made(name: str, *more: str) -> tuple[str, str]:
        out = tmp_path / name
        assert run(["models", "pack", str(source), "--out", str(out), *more]) == 0
        return read_manifest(out).sha256, capsys.readouterr().err

    digest, said = made("taken", "--bits", "4.5")
    assert digest == read_manifest(packed).sha256
    assert "ships as small is taken; --anew computes one" in said
    for more in (["--bits", "4.5", "--anew"], ["--bits", "4.5", "--group", "32"]):
        digest, said = made(more[-1], *more)
        assert (digest, "is taken" in said) == (bare, False)
    digest, said = made("other bits", "--bits", "4.4")
    assert "is taken" not in said
    of = entry("of", packed)  # the catalog's source has other weights now
    digest, said = made("other source", "--bits", "4.5")
    assert (digest, "is taken" in said) == (bare, False)


def test_only_a_packed_model_has_a_delta(
    source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and nothing is written."""
    out = tmp_path / "no.delta"
    assert run(["models", "delta", str(source), str(source), "--out", str(out)]) == 2
    assert "is not a packed model" in capsys.readouterr().err
    assert not out.exists()
