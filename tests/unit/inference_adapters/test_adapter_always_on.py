"""A model with an adapter of its own: always on, part of its digest, and of its chat form."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from inference.adapters import Base, read_adapter
from inference.adapters.manifest import read_manifest
from inference.architectures import DecoderConfig
from inference.catalog import Catalog, InstalledModel
from inference.catalog.adapting import install_adapted
from inference.decoder import load_decoder
from inference.testing.random_adapter import write_random_adapter
from inference.text import ChatMessage, load_text_model
from lanai.cli.mount import run
from lanai.content import Content
from lanai.errors import AdapterError, ChecksumMismatch, ModelFormatError, UsageError

TEMPLATE = "{{ bos_token }}{% for m in messages %}Q: {{ m['content'] }}\nA:{% endfor %}"


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path))
    monkeypatch.setenv("LANAI_DEVICE_THREADS", "1")
    return tmp_path / "models"


@pytest.fixture
def base(models: Path, tiny_base: Path) -> InstalledModel:
    return Catalog(models).pull(str(tiny_base))


@pytest.fixture
def adapter(tmp_path: Path, base: InstalledModel, tiny_settings: DecoderConfig) -> Path:
    made_for = Base(name=base.name, architecture=base.architecture, sha256=base.sha256)
    write_random_adapter(
        tmp_path / "chatty", tiny_settings, base=made_for, chat_template=TEMPLATE, stop=("\nQ:",)
    )
    return tmp_path / "chatty"


def last_logits(path: Path, adapter: Path | None = None) -> torch.Tensor:
    decoder = load_decoder(path, context_tokens=32)
    ready = None
    if adapter is not None:
        ready = decoder.adapted(read_adapter(adapter, decoder.config))
    cache = decoder.new_cache(16)
    return decoder.forward(torch.arange(12), cache, adapter=ready).logits


def test_it_answers_as_with_the_adapter_named(
    models: Path, base: InstalledModel, adapter: Path
) -> None:
    """The same numbers, without anybody naming it; the base is as it was."""
    made = install_adapted(models, base, adapter, "tiny-chat")
    found = last_logits(made.path)
    assert torch.equal(found, last_logits(base.path, adapter))
    assert not torch.allclose(found, last_logits(base.path), atol=0.1)


def test_it_speaks_the_form_of_its_adapter(
    models: Path, base: InstalledModel, adapter: Path
) -> None:
    """Chat template with the model's own special tokens, and stop strings."""
    made = install_adapted(models, base, adapter, "tiny-chat")
    text = load_text_model(made.path)
    ids = text.render([ChatMessage(role="user", text=Content("hi"))])
    assert ids == (text.tokens.control["<|endoftext|>"], *text.encode("Q: hi\nA:"))
    assert text.stop_strings == ("\nQ:",)
    stream = text.decoder()
    shown = "".join(stream.push(token) for token in text.encode("yes\nQ: more"))
    assert (shown, stream.stopped) == ("yes", True)


def test_its_digest_covers_the_adapter(models: Path, base: InstalledModel, adapter: Path) -> None:
    """Another byte in any of the adapter's files, and the model is not the one installed."""
    made = install_adapted(models, base, adapter, "tiny-chat")
    assert made.adapter == "adapter"
    assert made.sha256 != base.sha256
    assert made.bytes > base.bytes
    assert made.bits_per_weight > base.bits_per_weight
    assert Catalog(models).verify("tiny-chat") == made
    path = made.path / "adapter" / "lanai.json"
    path.write_text(path.read_text().replace("Q: ", "X: "))
    with pytest.raises(ChecksumMismatch):
        Catalog(models).verify("tiny-chat")


def test_a_manifest_that_names_no_folder_of_its_own_is_refused(
    models: Path, base: InstalledModel, adapter: Path
) -> None:
    """Neither one that is missing nor one that lies elsewhere."""
    made = install_adapted(models, base, adapter, "tiny-chat")
    path = made.path / "lanai.json"
    for wrong in ("gone", "../tiny", 3):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"adapter": wrong}))
        with pytest.raises(ModelFormatError):
            load_text_model(made.path)
        with pytest.raises(ModelFormatError):
            Catalog(models).find("tiny-chat")


def test_what_does_not_fit_is_not_installed(
    models: Path, base: InstalledModel, adapter: Path, tmp_path: Path, tiny_settings: DecoderConfig
) -> None:
    """An adapter of other weights, a name that is taken, a second adapter."""
    other = Base(name="tiny", architecture="llama", sha256="0" * 64)
    write_random_adapter(tmp_path / "other", tiny_settings, base=other)
    with pytest.raises(AdapterError):
        install_adapted(models, base, tmp_path / "other", "new")
    assert not (models / "new").exists()
    for taken in (base.name, "gemma-3-270m"):
        with pytest.raises(UsageError):
            install_adapted(models, base, adapter, taken)
    made = install_adapted(models, base, adapter, "tiny-chat")
    write_random_adapter(
        tmp_path / "more",
        tiny_settings,
        base=Base(name=made.name, architecture="llama", sha256=made.sha256),
    )
    with pytest.raises(UsageError):
        install_adapted(models, made, tmp_path / "more", "twice")


def test_commands_install_list_and_remove(
    models: Path, base: InstalledModel, adapter: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`adapters add | list | rm` and `models adapt`, in JSON and in words."""
    add = ["adapters", "add", str(adapter), "--base", base.name, "--name", "mine", "--json"]
    assert run(add) == 0
    added = json.loads(capsys.readouterr().out)
    assert (added["name"], added["base"], added["rank"]) == ("mine", base.name, 4)
    assert run(add) == 2  # there already
    capsys.readouterr()
    assert run(["adapters", "list", "--json"]) == 0
    (listed,) = json.loads(capsys.readouterr().out)
    assert listed == added
    assert run(["adapters", "list"]) == 0
    assert "mine" in capsys.readouterr().out
    assert run(["adapters", "rm", "mine"]) == 0
    assert run(["adapters", "rm", "mine"]) == 1
    capsys.readouterr()
    assert run(["models", "adapt", base.name, str(adapter), "--name", "n", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["sha256"] == Catalog(models).find("n").sha256


def test_a_foreign_folder_is_pinned_to_its_base(
    models: Path, base: InstalledModel, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PEFT's two files alone: refused for a base of another name, unless the user says so."""
    (adapter / "lanai.json").unlink()
    settings = adapter / "adapter_config.json"
    values = json.loads(settings.read_text()) | {"base_model_name_or_path": "org/large"}
    settings.write_text(json.dumps(values))
    monkeypatch.setenv("LANAI_DEVICE_MODEL", base.name)
    assert run(["adapters", "add", str(adapter)]) == 1
    assert run(["adapters", "add", str(adapter), "--base", base.name]) == 0
    pinned = read_manifest(models.parent / "adapters" / "chatty")
    assert pinned is not None
    assert pinned.base.sha256 == base.sha256


def test_a_packed_model_keeps_its_recovery_in_eight_bits(
    models: Path, base: InstalledModel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`models pack --recovery`: always on, counted; packing gives the same weights twice."""
    pack = ["models", "pack", base.name, "--bits", "4.5", "--json", "--out"]
    assert run([*pack, str(tmp_path / "bare")]) == 0
    bare = json.loads(capsys.readouterr().out)
    packed = load_decoder(tmp_path / "bare", context_tokens=32)
    made_for = Base(name="bare", architecture="llama", sha256=bare["sha256"])
    write_random_adapter(
        tmp_path / "back", packed.config, base=made_for, kind="recovery", strength=0.5
    )
    assert run([*pack, str(tmp_path / "good"), "--recovery", str(tmp_path / "back")]) == 0
    good = json.loads(capsys.readouterr().out)
    manifest = read_manifest(tmp_path / "good" / "adapter")
    assert manifest is not None
    assert manifest.kind == "recovery"
    added = (tmp_path / "good" / "adapter" / "adapter_model.safetensors").stat().st_size
    assert good["bits_per_weight"] - bare["bits_per_weight"] >= added * 8 / base.parameters
    decoder = load_decoder(tmp_path / "good", context_tokens=32)
    ids = torch.arange(12)
    with_it = decoder.forward(ids, decoder.new_cache(16)).logits
    named = packed.adapted(read_adapter(tmp_path / "back", packed.config))
    np.testing.assert_allclose(
        with_it, packed.forward(ids, packed.new_cache(16), adapter=named).logits, atol=0.05
    )
    assert not torch.allclose(with_it, packed.forward(ids, packed.new_cache(16)).logits, atol=0.05)
