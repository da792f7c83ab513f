"""A machine for classic BPF: runs a filter on a system call as the kernel would."""

import struct
from collections.abc import Callable
from enum import Enum

import pytest

from lanai.confinement.kernel import Machine
from lanai.confinement.protection import Confinement
from lanai.confinement.rules import rules_of
from lanai.confinement.seccomp import assemble
from lanai.confinement.system_calls import NUMBERS


class Verdict(Enum):
    """What a filter answers: SECCOMP_RET_*, with its error number."""

    ALLOW = 0x7FFF0000
    KILL = 0x80000000
    EPERM = 0x00050001
    ENOSYS = 0x00050026


Ask = Callable[..., Verdict]


def interpret(program: bytes, data: bytes) -> Verdict:
    """Run ``program`` over one ``struct seccomp_data``; a jump out of it is an ``IndexError``."""
    steps = list(struct.iter_unpack("=HBBI", program))
    accumulator, at = 0, 0
    while True:
        code, then, otherwise, constant = steps[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("=I", data, constant)
        elif code == 0x54:
            accumulator &= constant
        elif code == 0x15:
            at += then if accumulator == constant else otherwise
        elif code == 0x35:
            at += then if accumulator >= constant else otherwise
        elif code == 0x06:
            return Verdict(constant)
        else:
            raise ValueError(code)


@pytest.fixture(params=list(Machine), ids=lambda machine: machine.name.lower())
def here(request: pytest.FixtureRequest) -> Machine:
    return request.param


@pytest.fixture
def ask(here: Machine) -> Ask:
    """``ask(confinement, name or number, arguments…, arch=…)`` on this machine."""

    def asked(
        confinement: Confinement, call: str | int, *arguments: int, arch: int | None = None
    ) -> Verdict:
        number = NUMBERS[call][here is Machine.AARCH64] if isinstance(call, str) else call
        padded = (*arguments, 0, 0, 0, 0, 0, 0)[:6]
        data = struct.pack("=IIQ6Q", number, arch or here.value, 0, *padded)
        return interpret(assemble(here, rules_of(confinement)), data)

    return asked
