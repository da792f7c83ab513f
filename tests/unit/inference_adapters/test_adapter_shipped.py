"""The adapters that Lanai ships, and how a catalog model comes with one."""

import dataclasses
from pathlib import Path

import pytest

from inference.adapters import Base, read_adapter
from inference.adapters.manifest import read_manifest
from inference.architectures import DecoderConfig, LayerShape, Rope
from inference.catalog import Catalog
from inference.catalog.adapting import SHIPPED, with_shipped_adapter
from inference.catalog.entries import load_entries
from inference.testing.random_adapter import write_random_adapter
from inference.text import ChatMessage
from inference.text.template import ChatTemplate
from lanai.content import Content

MAX_BYTES = 12 << 20
CHAT = "gemma-3-270m-chat"
# Gemma 3 270M as published; which layers see a window changes no matrix.
LAYER = LayerShape(heads=4, kv_heads=1, head_width=256, ffn_width=2048, rope=Rope(theta=1e6))
GEMMA = DecoderConfig(
    architecture="gemma3",
    vocabulary=262_144,
    width=640,
    max_context=32_768,
    norm_epsilon=1e-6,
    shapes=(LAYER,) * 18,
    qk_norm=True,
    sandwich_norms=True,
)


def test_the_chat_adapter_is_whole_and_made_for_the_catalogs_gemma() -> None:
    """Its digest, every shape, the pinned weights of its base, and room in the package."""
    adapter = read_adapter(SHIPPED / CHAT, GEMMA)
    assert len(adapter.matrices) == 7 * 18
    manifest = read_manifest(SHIPPED / CHAT)
    assert manifest is not None
    assert manifest.base.sha256 == load_entries()["gemma-3-270m"].sha256
    assert manifest.bytes < MAX_BYTES


def test_the_chat_adapter_comes_with_its_card_and_gemmas_terms() -> None:
    """Gemma's terms ask for a notice, a copy of themselves, and word that something changed."""
    folder = SHIPPED / CHAT
    notice = (folder / "NOTICE").read_text(encoding="utf-8")
    assert (
        "Gemma is provided under and subject to the Gemma Terms of Use found at "
        "ai.google.dev/gemma/terms" in notice
    )
    assert "3.2 Use Restrictions" in (folder / "GEMMA_TERMS.txt").read_text(encoding="utf-8")
    assert "modified" in (folder / "README.md").read_text(encoding="utf-8")


def test_the_chat_adapters_answers_end_with_its_stop() -> None:
    """What the template puts behind an answer is the stop that the manifest names."""
    adapter = read_adapter(SHIPPED / CHAT, GEMMA)
    assert adapter.chat_template is not None
    assert adapter.stop is not None
    turns = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    messages = [ChatMessage(role=role, text=Content(text)) for role, text in turns]
    parts = ChatTemplate(adapter.chat_template, {"bos_token": "<bos>"}).render(messages)
    assert f"Hello{adapter.stop[0]}" in "".join(part.text for part in parts)


def test_every_adapter_a_catalog_model_names_is_shipped() -> None:
    """The catalog names no folder that is not there."""
    named = {entry.adapter for entry in load_entries().values() if entry.adapter is not None}
    assert named == {folder.name for folder in SHIPPED.iterdir() if folder.is_dir()}


def test_a_catalog_model_with_an_adapter_is_put_together_with_its_papers(
    tmp_path: Path, tiny_base: Path, tiny_settings: DecoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The adapter and what belongs to it lie in the model's folder and count in its digest."""
    model = Catalog(tmp_path / "models").pull(str(tiny_base))
    made_for = Base(name=model.name, architecture=model.architecture, sha256=model.sha256)
    shipped = tmp_path / "adapters" / "chatty"
    write_random_adapter(shipped, tiny_settings, base=made_for)
    (shipped / "NOTICE").write_text("a notice")
    (shipped / "other.txt").write_text("not a paper")
    monkeypatch.setattr("inference.catalog.adapting.SHIPPED", shipped.parent)
    made = with_shipped_adapter(dataclasses.replace(model), "chatty")
    assert made.adapter == "adapter"
    assert made.sha256 != model.sha256
    kept = {file.name for file in (model.path / "adapter").iterdir()}
    assert kept == {"NOTICE", "lanai.json", "adapter_config.json", "adapter_model.safetensors"}
