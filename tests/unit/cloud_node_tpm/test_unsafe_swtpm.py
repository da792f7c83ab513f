"""A development cluster takes a software TPM where one is installed, and says what is wrong."""

from pathlib import Path

import pytest

from cloud_node.cluster import unsafe_swtpm
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.unsafe_swtpm import SoftwareTpmFiles, UnsafeSwtpm, manufacture
from lanai.errors import CloudUnavailable
from lanai.folders import Folders


def test_a_machine_without_the_programs_has_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cluster starts without one: nothing is made, and nothing fails."""
    monkeypatch.setenv("PATH", str(tmp_path))
    layout = ClusterLayout.of(Folders.below(tmp_path), "c")
    assert UnsafeSwtpm.installed(layout) is None
    monkeypatch.undo()
    monkeypatch.setattr(unsafe_swtpm, "tpm_library_present", lambda: False)
    assert UnsafeSwtpm.installed(layout) is None
    assert not layout.folder.exists()


def test_a_failed_manufacture_says_where_to_look(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves nothing that the next start would take for a TPM."""
    monkeypatch.setenv("PATH", str(tmp_path))
    files = SoftwareTpmFiles(folder=tmp_path / "swtpm")
    with pytest.raises(CloudUnavailable) as caught:
        manufacture(files)
    assert "setup.log" in (caught.value.hint or "")
    assert not files.made.exists()


def test_each_start_is_as_new(tmp_path: Path) -> None:
    """State that a killed TPM left is not gone on with."""
    files = SoftwareTpmFiles(folder=tmp_path)
    files.made.mkdir()
    (files.made / "tpm2-00.permall").write_bytes(b"as new")
    files.state.mkdir()
    (files.state / "tpm2-00.permall").write_bytes(b"locked")
    (files.state / "tpm2-00.volatilestate").write_bytes(b"left")
    manufacture(files)
    assert [path.name for path in files.state.iterdir()] == ["tpm2-00.permall"]
    assert (files.state / "tpm2-00.permall").read_bytes() == b"as new"
