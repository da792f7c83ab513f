"""Processes in the shapes of a node's pieces work, and can do nothing else."""

import json
from collections.abc import Callable
from typing import Any

import grpc
import pytest

Run = Callable[[str, str], dict[str, Any]]
SHAPES = ("keyholder", "zygote", "worker", "engine")
REFUSED = {"EPERM", "EACCES"}
# Of another file system or mount, ahead of Landlock's own word for the same.
LINK_REFUSED = REFUSED | {"EXDEV"}
OF_A_FRONT = {"bind", "listen unbound"}
OF_A_ZYGOTE = {"fork"}


def refused(report: dict[str, Any]) -> set[str]:
    return {name for name, outcome in report["tried"].items() if outcome in LINK_REFUSED}


def test_every_attempt_works_without_confinement(run: Run) -> None:
    """The control: nothing but confinement is in the way of what is tried."""
    report = run("worker", "free")
    assert report["worked"]
    assert {name: what for name, what in report["tried"].items() if what != "done"} == {}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_works_and_nothing_else_does(shape: str, run: Run) -> None:
    """Its work goes well, everything is held, and every attempt but its own right is refused."""
    report = run(shape, "confined")
    assert report["worked"]
    assert report["missing"] == []
    allowed = OF_A_ZYGOTE if shape == "zygote" else set()
    assert set(report["tried"]) - refused(report) == allowed


def test_a_front_answers_and_reaches_its_port_only(start: Callable[[str, str], Any]) -> None:
    """gRPC serves a call from outside; other ports, protocols, files and processes are refused."""
    process = start("front", "confined")
    port = int(process.stdout.readline())
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        assert channel.unary_unary("/shape/Reverse")(b"abc", timeout=20) == b"cba"
    report = json.loads(process.communicate("\n", timeout=60)[0])
    assert report["worked"]
    assert report["missing"] == []
    assert set(report["tried"]) - refused(report) == OF_A_FRONT


def test_only_named_variables_stay(run: Run) -> None:
    """An engine keeps its thread count; what else the environment held is gone."""
    assert run("engine", "confined")["environment"] == ["OMP_NUM_THREADS"]
