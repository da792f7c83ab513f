"""Which supervisors Ray is told to deploy; a stand-in for Ray Serve remembers."""

import importlib
import sys
from enum import StrEnum
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

SUPERVISION = ("cloud_node.supervisor", "cloud_node.deploying")


class Status(StrEnum):
    DEPLOYING = "DEPLOYING"
    DEPLOY_FAILED = "DEPLOY_FAILED"
    RUNNING = "RUNNING"
    UNHEALTHY = "UNHEALTHY"
    DELETING = "DELETING"


class ServeError(Exception):
    """What Serve raises when its controller is gone: no error of Ray's."""


class Serve(ModuleType):
    """Applications by name and status; what was deployed and deleted."""

    Application = object

    def __init__(self, applications: dict[str, Status], failure: Exception | None = None) -> None:
        super().__init__("ray.serve")
        self.applications, self.failure = applications, failure
        self.deployed: list[str] = []
        self.deleted: list[str] = []

    def start(self, **options: Any) -> None:
        if self.failure is not None:
            raise self.failure

    def status(self) -> SimpleNamespace:
        found = {name: SimpleNamespace(status=word) for name, word in self.applications.items()}
        return SimpleNamespace(applications=found)

    def delete(self, name: str) -> None:
        self.deleted.append(name)

    def deployment(self, **options: Any) -> Any:
        return lambda kind: SimpleNamespace(bind=lambda *given: given)

    def RunTarget(self, *, name: str, **options: Any) -> str:  # noqa: N802  Ray's name
        return name

    def run_many(self, targets: list[str]) -> None:
        self.deployed += targets


def supervise(monkeypatch: pytest.MonkeyPatch, serve: Serve, *names: str) -> None:
    """Run `python -m cloud_node.deploying` here, with launchers of these names."""
    ray = ModuleType("ray")
    ray.__dict__.update(init=lambda **given: None, shutdown=lambda: None, serve=serve)
    ray.__dict__["exceptions"] = SimpleNamespace(RayError=OSError)
    parts = {"ray": ray, "ray.serve": serve}
    for name, given in (
        ("exceptions", {"RayServeException": ServeError}),
        ("schema", {"ApplicationStatus": Status}),
    ):
        parts[f"ray.serve.{name}"] = ModuleType(f"ray.serve.{name}")
        parts[f"ray.serve.{name}"].__dict__.update(given)
    for name, module in parts.items():
        monkeypatch.setitem(sys.modules, name, module)
    sockets = [str(Path("/run", f"{name}.sock")) for name in names]
    monkeypatch.setattr(sys, "argv", ["deploying", "127.0.0.1:1", *sockets])
    try:
        importlib.import_module("cloud_node.deploying").main()
    finally:
        for name in SUPERVISION:
            sys.modules.pop(name, None)


def test_supervisors_that_stand_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is new is deployed, one that is not named goes; others' applications are theirs."""
    serve = Serve({"lanai-a": Status.RUNNING, "lanai-b": Status.UNHEALTHY, "else": Status.RUNNING})
    supervise(monkeypatch, serve, "a", "c")
    assert (serve.deployed, serve.deleted) == (["lanai-c"], ["lanai-b"])


@pytest.mark.parametrize("left", [Status.DEPLOY_FAILED, Status.DEPLOYING, Status.DELETING])
def test_what_was_not_deployed_whole_is_deployed_again(
    monkeypatch: pytest.MonkeyPatch, left: Status
) -> None:
    """A second try does not return as if all launchers were looked after."""
    serve = Serve({"lanai-a": Status.UNHEALTHY, "lanai-b": left})
    supervise(monkeypatch, serve, "a", "b")
    assert (serve.deployed, serve.deleted) == (["lanai-b"], [])


@pytest.mark.parametrize("failure", [ServeError(), TimeoutError(), RuntimeError(), OSError()])
def test_a_ray_that_fails_is_a_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: Exception
) -> None:
    """No traceback, whichever way Serve says it."""
    with pytest.raises(SystemExit) as ended:
        supervise(monkeypatch, Serve({}, failure), "a")
    assert ended.value.code == 1
    assert type(failure).__name__ in capsys.readouterr().err
