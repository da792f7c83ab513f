"""What a process freed, wiped by the kernel: looked at in a process of its own."""

import json
import subprocess
import sys

import pytest

from lanai.erasure import READY_BYTES

PROGRAM = """
import ctypes, json, re, resource, sys
from pathlib import Path
from lanai.erasure import FreedMemory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = library.free.argtypes = [ctypes.c_size_t]
MARK, SIZE = bytes(byte ^ 0x5A for byte in b"freed, not forgotten"), 64 * 1024
COUNT = int(sys.argv[2])

def places():
    return [library.malloc(SIZE) for _ in range(COUNT)]

def faults(blocks):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for place in blocks:
        ctypes.memset(place, 1, SIZE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

def held():
    marks = 0
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        for line in Path("/proc/self/maps").read_text().splitlines():
            if line.endswith("[heap]"):
                start, end = (int(edge, 16) for edge in line.split()[0].split("-"))
                memory.seek(start)
                marks += len(re.findall(re.escape(MARK) * 2, memory.read(end - start)))
    return marks

freed = FreedMemory()
at_first = resident()
blocks = places()
keeps = library.malloc(64)  # the heap goes on behind them
for place in blocks:
    ctypes.memmove(place, MARK * (SIZE // len(MARK)), SIZE // len(MARK) * len(MARK))
for place in blocks[:-1]:
    library.free(place)
before = held()
if sys.argv[1] == "renew":
    freed.renew()
else:
    library.malloc_trim(0)
after, more = held(), resident() - at_first
print(json.dumps([before, after, faults(places()[:-1]), more]))
"""


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> list[int]:
    """Marks before, marks after, page faults of the next to allocate as much, bytes still held."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, *request.param],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("seen", [("renew", "64")], indirect=True)
def test_freed_pages_are_wiped_and_there_again(seen: list[int]) -> None:
    """One block's worth of marks stays, the one not freed; the next to allocate faults rarely."""
    before, after, faults, _ = seen
    assert before > 60 * after > 0
    assert faults < 100


@pytest.mark.parametrize("seen", [("renew", "1024")], indirect=True)
def test_what_a_burst_took_is_given_back(seen: list[int]) -> None:
    """Of 64 MiB there are 16 again, and what reading them for the marks took."""
    before, after, _, more = seen
    assert before > 900 * after > 0
    assert READY_BYTES <= more < 2 * READY_BYTES


@pytest.mark.parametrize("seen", [("trim", "64")], indirect=True)
def test_giving_them_back_alone_costs_the_next_its_faults(seen: list[int]) -> None:
    """The control: wiped as well, and a page fault for each page afterwards."""
    before, after, faults, _ = seen
    assert before > 60 * after > 0
    assert faults > 500
