"""A model that is packed where it is pulled, when packing fails: why, and nothing left."""

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest

from inference.catalog import Catalog
from inference.catalog.entries import CatalogEntry, load_entries
from inference.catalog.packed_recipe import PackingFailure
from inference.packing import __main__ as child
from lanai.errors import ChecksumMismatch, DiskFull, ModelError, ModelFormatError

FAILS = """
import os, signal, sys
print("1 3", flush=True)
print("Traceback of a path", file=sys.stderr)
{end}
"""

PACKS = """
import sys
from pathlib import Path
print("1 1", flush=True)
Path(sys.argv[2], "model.safetensors").write_bytes(b"as a machine would that rounded otherwise")
"""


@pytest.fixture
def kept(entry: CatalogEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog lists ``tiny-kept``, packed of ``tiny``."""
    packed = replace(
        entry, name="tiny-kept", file="model.safetensors", keeps_codes_of="tiny", members=()
    )
    for module in ("catalog", "recipes"):
        monkeypatch.setattr(
            f"inference.catalog.{module}.load_entries", lambda: {"tiny": entry, "tiny-kept": packed}
        )


def packer(code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``python -m inference.packing`` runs ``code``."""
    (folder / "inference").mkdir(parents=True)
    (folder / "inference" / "packing.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


@pytest.mark.parametrize(
    ("end", "error", "word"),
    [
        ("print('failed disk_full'); sys.exit(1)", DiskFull, "no room"),
        ("print('failed no_memory'); sys.exit(1)", ModelError, "no_memory"),
        ("os.kill(os.getpid(), signal.SIGKILL)", ModelError, "no_memory"),
        ("print('failed internal'); sys.exit(1)", ModelError, "internal"),
        ("raise ValueError", ModelError, "internal"),
    ],
)
@pytest.mark.usefixtures("kept")
def test_packing_that_fails_says_why(
    catalog: Catalog,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    error: type[Exception],
    word: str,
) -> None:
    """By a word of the closed list, with a hint; a killed child most likely lacked memory."""
    packer(FAILS.format(end=end), tmp_path / "path", monkeypatch)
    with pytest.raises(error, match=word) as caught:
        catalog.pull("tiny-kept")
    assert getattr(caught.value, "hint", None)
    assert list(folder.iterdir()) == []


@pytest.mark.usefixtures("kept")
def test_bytes_the_catalog_does_not_know_are_not_installed(
    catalog: Catalog, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that rounded otherwise is told, and left without a model."""
    packer(PACKS, tmp_path / "path", monkeypatch)
    with pytest.raises(ChecksumMismatch):
        catalog.pull("tiny-kept")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("error", "word"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), PackingFailure.DISK_FULL),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), PackingFailure.DISK_FULL),
        (OSError(errno.EIO, os.strerror(errno.EIO)), PackingFailure.INTERNAL),
        (MemoryError(), PackingFailure.NO_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), PackingFailure.NO_MEMORY),
        (RuntimeError("a path"), PackingFailure.INTERNAL),
    ],
)
def test_the_child_says_one_word(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: Exception,
    word: PackingFailure,
) -> None:
    """Whatever the error's own text holds, one line of the closed list leaves the child."""

    def fail(*given: object, **options: object) -> None:
        raise error

    monkeypatch.setattr(child, "keep_codes", fail)
    assert child.main(tmp_path / "source.gguf", tmp_path) == 1
    assert capsys.readouterr().out == f"failed {word}\n"


@pytest.fixture
def small(entry: CatalogEntry, monkeypatch: pytest.MonkeyPatch) -> None:
    """The catalog lists ``tiny-small``, a delta of ``tiny``; the shipped one stands for its own."""
    shipped = load_entries()["smollm2-135m-instruct-small"].delta
    packed = replace(
        entry, name="tiny-small", file="model.safetensors", delta_of="tiny", members=()
    )
    monkeypatch.setattr(CatalogEntry, "delta", property(lambda it: it.delta_of and shipped))
    for module in ("catalog", "recipes"):
        monkeypatch.setattr(
            f"inference.catalog.{module}.load_entries",
            lambda: {"tiny": entry, "tiny-small": packed},
        )


@pytest.mark.usefixtures("small")
def test_a_delta_goes_to_the_child(
    catalog: Catalog, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its third word; one that fails says what to do, and nothing is left."""
    says = "import sys; print('failed disk_full'); sys.exit(sys.argv[3].endswith('-small.delta'))"
    packer(says, tmp_path / "path", monkeypatch)
    with pytest.raises(DiskFull):
        catalog.pull("tiny-small")
    packer("raise ValueError", tmp_path / "fails", monkeypatch)
    with pytest.raises(ModelError, match="internal") as caught:
        catalog.pull("tiny-small")
    assert "install Lanai anew" in str(caught.value.hint)
    assert list(folder.iterdir()) == []


def test_other_errors_are_the_childs_own(tmp_path: Path) -> None:
    """A damaged source never comes here from the catalog; by hand its type is seen."""
    (tmp_path / "source.gguf").write_bytes(b"no model")
    with pytest.raises(ModelFormatError):
        child.main(tmp_path / "source.gguf", tmp_path)
