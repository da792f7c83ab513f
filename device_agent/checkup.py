"""What ``lanai doctor`` looks at: installation, folders, stores, and one real answer of the device.

Each check says what it saw and what to do; none of them repairs anything.
"""

import os
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from device_agent.agent import AsyncAgent
from device_agent.availability import Availability, PartState
from device_agent.ledger import Ledger, ledger_path
from device_agent.options import Options
from device_agent.remembering import Memory, experience_path
from device_agent.routing import router_of
from device_agent.traces import TraceStore, traces_path
from lanai.errors import LanaiError
from lanai.folders import Folders
from lanai.settings import Settings
from router.vocabulary import DataClass, Mode

__all__ = ["Check", "examine"]

OLDEST_PYTHON = (3, 11)
ROUTER, DRIFT = "router", "drift"
REFIT = "no such bound is claimed; `lanai route train` fits an estimator to your own questions"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing looked at."""

    name: str
    ok: bool
    reason: str
    hint: str | None = None

    def to_json_dict(self) -> dict[str, Any]:
        return asdict(self)


async def examine(folders: Folders) -> tuple[Availability, tuple[Check, ...]]:
    """Every check, and the two destinations. The device is ready when it answered here."""
    checks = tuple(check() for check in _checks(folders))
    if refused := next((each for each in checks if each.name == ROUTER and not each.ok), None):
        # No agent starts with it, so neither side can answer: the first thing to mend.
        part = PartState(ready=False, reason=refused.reason, hint=refused.hint)
        return Availability(device=part, cloud=part), checks
    async with AsyncAgent.from_config(folders=folders) as agent:
        found = await agent.availability()
        device = await _answers(agent) if found.device else found.device
    return Availability(device=device, cloud=found.cloud), checks


async def _answers(agent: AsyncAgent) -> PartState:
    """One token from the real engine, kept on the device."""
    begun = time.perf_counter()
    try:
        reply = await agent.session(mode=Mode.ONLY_ON_DEVICE, data_class=DataClass.SECRET).respond(
            "Hello", options=Options(max_tokens=1)
        )
    except LanaiError as error:
        return PartState(ready=False, reason=error.message, hint=error.hint)
    took = time.perf_counter() - begun
    return PartState(ready=True, reason=f"{reply.model} answered, {took:.1f} s with its start")


def _checks(folders: Folders) -> list[Callable[[], Check]]:
    return [
        _python,
        lambda: _package("torch", "pip install lanai"),
        lambda: _package("grpcio", "pip install lanai"),
        _kernels,
        lambda: _writable("models", folders.models),
        lambda: _writable("state", folders.state),
        lambda: _writable("config", folders.config),
        lambda: _writable("runtime", folders.runtime),
        lambda: _traces(traces_path(folders)),
        lambda: _ledger(ledger_path(folders)),
        lambda: _router(folders),
        lambda: _experience(experience_path(folders)),
        _loopback,
    ]


def _python() -> Check:
    found, wanted = ".".join(map(str, sys.version_info[:3])), ".".join(map(str, OLDEST_PYTHON))
    return Check(
        name="python",
        ok=sys.version_info >= OLDEST_PYTHON,
        reason=found,
        hint=f"needs {wanted} or newer",
    )


def _package(name: str, hint: str) -> Check:
    """By its metadata: importing torch here would cost what the child is there to avoid."""
    try:
        return Check(name=name, ok=True, reason=version(name))
    except PackageNotFoundError:
        return Check(name=name, ok=False, reason="not installed", hint=hint)


def _kernels() -> Check:
    """They are compiled where the package is installed, if there is a compiler."""
    from inference.kernels import load_kernels

    found = load_kernels()
    return Check(
        name="kernels",
        ok=found is not None,
        reason="none: packed models run in torch" if found is None else f"compiled, {found.isa}",
        hint="install a C++ compiler, then lanai again: many times as many tokens a second",
    )


def _writable(name: str, folder: Path) -> Check:
    nearest = next(path for path in (folder, *folder.parents) if path.exists())
    ok = nearest.is_dir() and os.access(nearest, os.W_OK | os.X_OK)
    return Check(name=name, ok=ok, reason=str(folder), hint=f"make {nearest} writable")


def _traces(path: Path) -> Check:
    if not path.exists():
        return Check(name="traces", ok=True, reason="none yet")
    try:
        store = TraceStore.open(path)
        try:
            ok, reason = store.sound()
        finally:
            store.close()
    except LanaiError as error:
        ok, reason = False, error.message
    return Check(name="traces", ok=ok, reason=reason, hint=f"move {path} away; a new one is made")


def _ledger(path: Path) -> Check:
    try:
        ledger = Ledger(path)
        found, jumps = ledger.read(), ledger.clock_jumps()
    except LanaiError as error:
        return Check(name="ledger", ok=False, reason=error.message, hint=error.hint)
    reason = f"{len(found.disclosures)} disclosures, {found.damaged} damaged lines"
    reason += f", the clock jumped (times: {jumps})" if jumps else ""
    return Check(
        name="ledger", ok=not found.damaged, reason=reason, hint="damaged lines are skipped"
    )


def _router(folders: Folders) -> Check:
    """Settings, policies and estimator, as an agent would take them."""
    try:
        router = router_of(Settings.load(folders=folders).settings, folders)
    except LanaiError as error:
        return Check(name=ROUTER, ok=False, reason=error.message, hint=error.hint)
    estimator = router.estimator.digest[:12] if router.estimator else "none"
    return Check(
        name=ROUTER, ok=True, reason=f"policy {router.policy.digest[:12]}, estimator {estimator}"
    )


def _experience(path: Path) -> Check:
    """Drift: are requests still like those the estimator was measured on, and its bounds true?"""
    memory = Memory(path)
    watch, grades = memory.experience.watch, memory.experience.grades
    if memory.lost:
        return Check(name=DRIFT, ok=False, reason="damaged", hint=f"move {path} away")
    if grades is not None and grades.refuted:
        refuted = ", ".join(f"{alpha:g}" for alpha in grades.refuted)
        reason = f"graded requests refute a regret of {refuted}"
        return Check(name=DRIFT, ok=False, reason=reason, hint=REFIT)
    if watch is None:
        return Check(name=DRIFT, ok=True, reason="no decision to compare yet")
    if watch.distance is None or watch.limit is None:
        return Check(name=DRIFT, ok=True, reason=f"{len(watch.recent)} decisions, no window yet")
    reason = (
        f"distance {watch.distance:.3f}, chance alone reaches {watch.limit:.3f}; "
        f"{watch.alarms} of {watch.windows} windows drifted"
    )
    return Check(name=DRIFT, ok=not watch.drifted, reason=reason, hint=REFIT)


def _loopback() -> Check:
    """A local cluster needs free ports on 127.0.0.1."""
    try:
        with socket.create_server(("127.0.0.1", 0)):
            return Check(name="ports", ok=True, reason="127.0.0.1 gives free ports")
    except OSError as error:
        hint = "a local cluster cannot start here"
        return Check(name="ports", ok=False, reason=str(error.strerror), hint=hint)
