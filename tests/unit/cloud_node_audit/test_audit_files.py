"""Files that changed are found and searched; those that did not are left alone."""

import os
import time
from pathlib import Path

import pytest

from cloud_node.audit.files import changed_files, files_below, search_file
from cloud_node.audit.findings import Findings
from lanai.errors import AuditError

PIECE = 4 << 20


def test_a_mark_across_pieces_of_a_large_file(marks, searcher, tmp_path: Path) -> None:
    """Files are read in pieces that overlap: a mark on the seam is one hit."""
    mark = marks.make("x").encode()
    path = tmp_path / "large"
    for start in (PIECE - 30, PIECE - searcher.overlap - 30, 2 * PIECE - searcher.overlap - 1):
        path.write_bytes(bytes(start) + mark + bytes(PIECE))
        found = Findings()
        search_file(path, searcher, found)
        assert (found.hits, found.labels) == (1, {"x"})


def test_holes_are_skipped_and_data_behind_them_is_not(marks, searcher, tmp_path: Path) -> None:
    """A sparse file of a gigabyte takes no time, and its last bytes are searched."""
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(1 << 30)
        file.write(marks.make("x").encode())
    found = Findings()
    search_file(path, searcher, found)
    assert found.hits == 1
    assert found.bytes_searched < 1 << 20


def test_names_are_searched(marks, searcher, tmp_path: Path) -> None:
    """A mark in the name of an empty file is a hit, and the report does not repeat the name."""
    path = tmp_path / marks.make("x")
    path.touch()
    found = Findings()
    search_file(path, searcher, found)
    assert found.hits == 1
    assert marks.common not in repr(found.places())


def test_only_what_changed_is_listed(tmp_path: Path) -> None:
    """By change time, which cannot be set back; below folders that are not left out."""
    since = time.time() - 1
    old, kept, skipped = tmp_path / "old", tmp_path / "a" / "kept", tmp_path / "b" / "skipped"
    for path in (old, kept, skipped):
        path.parent.mkdir(exist_ok=True)
        path.touch()
    os.utime(kept, (0, 0))
    listed = set(changed_files(since, skip=frozenset({skipped.parent}), below=tmp_path))
    assert listed == {old, kept}
    assert not set(changed_files(time.time() + 60, skip=frozenset(), below=tmp_path))
    assert set(files_below(tmp_path)) == {old, kept, skipped}


def test_links_and_pipes_are_not_followed(tmp_path: Path, searcher) -> None:
    """A named pipe would block, a link would leave the folder: neither is a file."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/etc")
    assert list(files_below(tmp_path)) == []
    assert list(changed_files(0, skip=frozenset(), below=tmp_path)) == []


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path, searcher) -> None:
    """Never a count of nothing. A file that vanished meanwhile holds nothing any more."""
    search_file(tmp_path / "vanished", searcher, Findings())
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AuditError):
        search_file(link, searcher, Findings())
