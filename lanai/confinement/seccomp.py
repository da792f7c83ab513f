"""A filter of system calls, assembled for the kernel's classic BPF (seccomp(2)).

The program: kill what speaks another machine's numbers, where ours mean nothing; then the calls
whose arguments decide, then those refused whole; everything else passes. Every refusal returns at
once, so that no jump is longer than a few instructions. The kernel remembers which numbers always
pass (since 5.11), and never runs the program for them again.
"""

import ctypes
import errno
import struct
from collections.abc import Iterator
from typing import Final

from lanai.confinement.kernel import Machine, system_call
from lanai.confinement.rules import Only, Rules
from lanai.confinement.system_calls import NUMBERS

__all__ = ["assemble", "install"]

SECCOMP: Final = {Machine.X86_64: 317, Machine.AARCH64: 277}
SET_MODE_FILTER: Final = 1
ALL_THREADS: Final = 1  # SECCOMP_FILTER_FLAG_TSYNC

# <linux/bpf_common.h>: load a word, and with a constant, jump if equal or not below, return.
LOAD: Final = 0x20
AND: Final = 0x54
IF_EQUAL: Final = 0x15
IF_NOT_BELOW: Final = 0x35
RETURN: Final = 0x06

# struct seccomp_data: the number, the machine, the instruction's address, six arguments of which
# the low half comes first.
NUMBER: Final = 0
MACHINE: Final = 4
ARGUMENTS: Final = 16

KILL: Final = 0x80000000
ALLOW: Final = 0x7FFF0000
REFUSE: Final = 0x00050000 | errno.EPERM
ABSENT: Final = 0x00050000 | errno.ENOSYS
X32: Final = 0x40000000
"""x86_64's second set of numbers has this bit."""

Code = Iterator[bytes]


def install(here: Machine, program: bytes) -> bool:
    """Filter every thread of this process from now on, which has no_new_privs."""
    held = ctypes.create_string_buffer(program, len(program))
    pointer = struct.pack("@HP", len(program) // 8, ctypes.addressof(held))
    return system_call(SECCOMP[here], SET_MODE_FILTER, ALL_THREADS, pointer) == 0


def assemble(here: Machine, rules: Rules) -> bytes:
    """The program, eight bytes an instruction."""
    return b"".join(_program(here, rules))


def _program(here: Machine, rules: Rules) -> Code:
    yield _load(MACHINE)
    yield from _unless_equal(here.value, KILL)
    yield _load(NUMBER)
    if here is Machine.X86_64:
        yield _step(IF_NOT_BELOW, X32, otherwise=1)
        yield _step(RETURN, KILL)
    for name, conditions in rules.limited.items():
        yield from _limited(_number(here, name), conditions)
    for names, verdict in ((rules.absent, ABSENT), (rules.refused, REFUSE)):
        for number in filter(None, (_number(here, name) for name in names)):
            yield _step(IF_EQUAL, number, otherwise=1)
            yield _step(RETURN, verdict)
    yield _step(RETURN, ALLOW)


def _limited(number: int | None, conditions: tuple[Only, ...]) -> Code:
    """Refused unless every condition is met; another call jumps over it all."""
    if number is None:
        return
    block = [step for condition in conditions for step in _condition(condition)]
    block.append(_step(RETURN, ALLOW))
    yield _step(IF_EQUAL, number, otherwise=len(block))
    yield from block


def _condition(only: Only) -> Code:
    yield _load(ARGUMENTS + 8 * only.argument)
    yield _step(AND, only.mask)
    values = sorted(only.values)
    for left, value in zip(range(len(values), 0, -1), values, strict=True):
        yield _step(IF_EQUAL, value, then=left)  # past the other values and the refusal
    yield _step(RETURN, REFUSE)


def _unless_equal(value: int, verdict: int) -> Code:
    yield _step(IF_EQUAL, value, then=1)
    yield _step(RETURN, verdict)


def _load(offset: int) -> bytes:
    return _step(LOAD, offset)


def _step(code: int, constant: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    """One ``struct sock_filter``."""
    return struct.pack("=HBBI", code, then, otherwise, constant)


def _number(here: Machine, name: str) -> int | None:
    return NUMBERS[name][0 if here is Machine.X86_64 else 1]
