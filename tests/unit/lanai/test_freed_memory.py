"""What a process freed, wiped by the kernel: looked at in a process of its own."""

import json
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, json, re, resource, sys
from pathlib import Path
from lanai.erasure import FreedMemory

library = ctypes.CDLL(None)
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = library.free.argtypes = [ctypes.c_size_t]
MARK, COUNT, SIZE = bytes(byte ^ 0x5A for byte in b"freed, not forgotten"), 64, 64 * 1024

def places():
    return [library.malloc(SIZE) for _ in range(COUNT)]

def faults(blocks):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for place in blocks:
        ctypes.memset(place, 1, SIZE)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

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
after = held()
print(json.dumps([before, after, faults(places()[:-1])]))
"""


@pytest.fixture
def seen(request: pytest.FixtureRequest) -> list[int]:
    """Marks before, marks after, page faults of the next to allocate as much."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", PROGRAM, request.param],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize("seen", ["renew"], indirect=True)
def test_freed_pages_are_wiped_and_there_again(seen: list[int]) -> None:
    """One block's worth of marks stays, the one not freed; the next to allocate faults rarely."""
    before, after, faults = seen
    assert before > 60 * after > 0
    assert faults < 100


@pytest.mark.parametrize("seen", ["trim"], indirect=True)
def test_giving_them_back_alone_costs_the_next_its_faults(seen: list[int]) -> None:
    """The control: wiped as well, and a page fault for each page afterwards."""
    before, after, faults = seen
    assert before > 60 * after > 0
    assert faults > 500
