"""Measurements depend on contents and names, and on nothing else."""

import os
import shutil
from pathlib import Path

import pytest

import trust
from lanai.errors import EvidenceRejected, Rejection
from trust.attestation import measure_folder, measure_software
from trust.attestation.measurement import MEASURED_PACKAGES


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.py").write_text("a")
    (folder / "inner" / "b.bin").write_bytes(b"b")
    return folder


def test_place_and_times_do_not_matter(tree: Path, tmp_path: Path) -> None:
    """A copy elsewhere, made in another order and with other times, measures the same."""
    copy = tmp_path / "elsewhere" / "deep"
    shutil.copytree(tree / "inner", copy / "inner")
    shutil.copy(tree / "a.py", copy)
    os.utime(copy / "a.py", (1, 1))
    assert measure_folder(copy) == measure_folder(tree)


def test_contents_and_names_matter(tree: Path) -> None:
    """A changed byte, a moved file and a new file each give another digest."""
    seen = {measure_folder(tree)}
    (tree / "a.py").write_text("A")
    seen.add(measure_folder(tree))
    (tree / "a.py").rename(tree / "inner" / "a.py")
    seen.add(measure_folder(tree))
    (tree / "new").touch()
    seen.add(measure_folder(tree))
    assert len(seen) == 4


def test_compiled_files_do_not_matter(tree: Path) -> None:
    """What the interpreter writes beside the sources is not measured."""
    before = measure_folder(tree)
    (tree / "__pycache__").mkdir()
    (tree / "__pycache__" / "a.pyc").write_bytes(b"compiled")
    assert measure_folder(tree) == before


@pytest.mark.parametrize("target", ["a.py", "inner"])
def test_links_are_refused(tree: Path, target: str) -> None:
    """A link could bring in what is not measured."""
    (tree / "link").symlink_to(tree / target)
    with pytest.raises(EvidenceRejected) as refusal:
        measure_folder(tree)
    assert refusal.value.reason is Rejection.MEASUREMENT


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    """A missing folder or package is refused, not measured as empty."""
    with pytest.raises(EvidenceRejected):
        measure_folder(tmp_path / "absent")
    with pytest.raises(EvidenceRejected):
        measure_software(["no_such_package_here"])


def test_software_is_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same sources measure the same in another place; data files beside them do not count."""
    digests = []
    for place in ("one", "two"):
        package = tmp_path / place / "measured_package"
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("x = 1")
        (package / "data.json").write_text(place)
        monkeypatch.syspath_prepend(str(tmp_path / place))
        digests.append(measure_software(["measured_package"]))
    assert digests[0] == digests[1]
    (tmp_path / "two" / "measured_package" / "more.py").write_text("")
    assert measure_software(["measured_package"]) != digests[1]


def test_this_installation_is_measured() -> None:
    """What runs on a node is measured, and a part of it gives another digest than all of it."""
    assert Path(str(trust.__file__)).is_file()
    assert len(measure_software(["trust", "lanai"])) == 64
    assert measure_software(["trust", "lanai"]) == measure_software(["lanai", "trust"])
    assert measure_software(["trust"]) != measure_software(["trust", "lanai"])
    assert set(MEASURED_PACKAGES) == {"lanai", "inference", "trust", "protos", "cloud_node"}
