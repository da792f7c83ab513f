"""How a catalog model comes with an adapter that Lanai ships."""

from pathlib import Path

import pytest

from inference.adapters import Base
from inference.architectures import DecoderConfig
from inference.catalog import Catalog
from inference.catalog.adapting import with_shipped_adapter
from inference.testing.random_adapter import write_random_adapter


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
    made = with_shipped_adapter(model, "chatty")
    assert made.adapter == "adapter"
    assert made.sha256 != model.sha256
    kept = {file.name for file in (model.path / "adapter").iterdir()}
    assert kept == {"NOTICE", "lanai.json", "adapter_config.json", "adapter_model.safetensors"}
