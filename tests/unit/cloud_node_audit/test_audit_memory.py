"""A process's memory is searched whole: heap, buffers, mappings; what is gone is not found."""

import time

import pytest

from cloud_node.audit.findings import Findings
from cloud_node.audit.memory import ProcessEnded, mappings, search_memory
from cloud_node.audit.shared import search_shared


def test_a_process_that_holds_nothing_has_no_hit(child, look) -> None:
    """Zero hits in several megabytes of a real interpreter."""
    found = look(child)
    assert found.hits == 0
    assert found.bytes_searched > 1 << 20


def test_strings_of_each_width_are_found_in_the_heap(child, marks, look) -> None:
    """CPython's strings of 1, 2 and 4 bytes a character, each by its form and name."""
    mark = marks.make("held")
    child.run(f"a = {str(mark)!r} + '!'; b = a + '\\u0416'; c = a + '\\U0001f600'")
    found = look(child)
    assert found.forms >= {"utf-8", "utf-16-le", "utf-32-le"}
    assert found.labels == {"held"}


def test_ids_are_found_in_arrays_and_lists(child, marks, look) -> None:
    """A numpy array, and a list of ints alone."""
    ids = list(marks.ids)
    # The child makes them from other numbers, so that its source holds none of them.
    child.run(f"import numpy as np; a = np.array({[i + 1 for i in ids]}, dtype=np.int64) - 1")
    assert "ids, 8 bytes" in look(child).forms
    child.run("a[:] = 0; del a")
    assert "ids, 8 bytes" not in look(child).forms
    child.run(f"b = [i - 1 for i in {[i + 1 for i in ids]}]")
    assert "ids, python ints" in look(child).forms


def test_freed_memory_still_shows_what_it_held(child, marks, look) -> None:
    """Why parents must never hold plaintext: deleting a string leaves its bytes."""
    child.run(f"a = [{str(marks.make('x'))!r} + str(i) for i in range(50)]")
    child.run("del a; import gc; gc.collect()")
    assert look(child).hits > 0


def test_overwritten_memory_shows_nothing(child, marks, look) -> None:
    """A buffer that was filled byte by byte and wiped is clean, and so was the way there."""
    half = [ord(c) ^ 1 for c in marks.make("x")]
    child.run(f"half = {half}; a = bytearray(len(half))")
    child.run("for i, v in enumerate(half): a[i] = v ^ 1")
    assert look(child).hits > 0
    child.run("a[:] = bytes(len(a))")
    assert look(child).hits == 0


def test_the_ends_of_large_mappings_are_searched(child, marks, look) -> None:
    """Across the seams of pieces, with a hole of untouched and of forbidden pages between."""
    mark, piece = marks.make("x"), 4 << 20
    child.run(f"import mmap; m = mmap.mmap(-1, 6 * {piece}, flags=mmap.MAP_PRIVATE)")
    child.run(f"half = bytes(ord(c) ^ 1 for c in {''.join(chr(ord(c) ^ 1) for c in mark)!r})")
    for start in (0, piece - 30, 3 * piece - 1, 6 * piece - len(mark)):
        child.run(f"m[{start}:{start} + len(half)] = bytes(i for i in half)")
    found = look(child)
    assert found.hits >= 4
    assert sum(each["count"] for each in found.places() if each["mark"] == "x") >= 4


def test_shared_memory_is_searched_through_its_object(
    child, marks, searcher, shared_file, look
) -> None:
    """A mapping of a shared file, and a memfd: found once, as shared, not as the process's own."""
    path, half = str(shared_file), "".join(chr(ord(c) ^ 1) for c in marks.make("x"))
    child.run(f"import mmap, os; f = open({path!r}, 'w+b'); f.truncate(1 << 20)")
    child.run("m = mmap.mmap(f.fileno(), 1 << 20); d = os.memfd_create('kept')")
    child.run(f"h = bytearray({half.encode()!r})")
    child.run("m[5:5 + len(h)] = bytes(i ^ 1 for i in h); os.write(d, m[5:5 + len(h)])")
    child.run("h[:] = bytes(len(h))")
    found = Findings()
    search_shared([child.pid, child.pid], searcher, found, since=time.time() - 60)
    assert {each["where"] for each in found.places()} == {path, "/memfd:kept (deleted)"}
    assert found.hits == 2
    assert found.bytes_searched < 1 << 16, "holes are not read"


def test_a_file_that_lost_its_name_is_searched(child, marks, searcher, tmp_path) -> None:
    """Deleted, and still open: not in any folder, but in the process's descriptors."""
    path = tmp_path / "gone"
    child.run(f"f = open({str(path)!r}, 'w'); f.write({str(marks.make('x'))!r}); f.flush()")
    path.unlink()
    found = Findings()
    search_shared([child.pid], searcher, found, since=time.time() - 60)
    assert found.labels == {"x"}


def test_an_ended_process_is_told(child, searcher) -> None:
    """Never a count of nothing: a process that is gone raises."""
    child.end()
    with pytest.raises(ProcessEnded):
        search_memory(child.pid, searcher, Findings(), since=time.time())
    with pytest.raises(ProcessEnded):
        mappings(child.pid)
