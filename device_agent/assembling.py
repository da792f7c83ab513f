"""The parts of an agent, from the user's settings. Nothing is started, and no network touched.

A device that was never enrolled loads neither `trust` nor the way to the cloud: apps that stay on
the device do not pay for them.
"""

from pathlib import Path

from device_agent.enrolled import EnrolledCloud
from device_agent.external import External, configured_endpoint
from device_agent.ledger import Ledger, ledger_path
from device_agent.local import Device
from device_agent.places import Places
from device_agent.remembering import Memory, experience_path
from device_agent.routing import installed_device, router_of
from device_agent.runtime import Runtime
from device_agent.sensitive import PatternDetector
from device_agent.surroundings import LinuxSurroundings, Surroundings
from device_agent.traces import TraceStore, traces_path
from device_agent.tracing import Tracing
from lanai.errors import LanaiError, TraceError
from lanai.folders import Folders
from lanai.settings import Settings

__all__ = ["open_tracing", "runtime_of"]


def runtime_of(settings: Settings, folders: Folders, surroundings: Surroundings | None) -> Runtime:
    """Raises ``ConfigError`` for an estimator, a policy or an endpoint that cannot be used."""
    here = folders.may_be_enrolled and _cloud_is_here(folders)
    return Runtime(
        device=Device(
            installed_device(settings, folders), context_tokens=settings.device_context_tokens
        ),
        cloud=_enrolled(folders, settings) if folders.may_be_enrolled else EnrolledCloud(None),
        router=router_of(settings, folders),
        ledger=Ledger(
            ledger_path(folders),
            keep_days=settings.ledger_keep_days,
            keep_content=settings.ledger_keep_content,
        ),
        tracing=open_tracing(traces_path(folders), keep_days=settings.trace_keep_days),
        cloud_timeout_s=settings.cloud_timeout_s,
        cloud_stream_shape=settings.cloud_stream_shape,
        memory=Memory(experience_path(folders)),
        surroundings=surroundings or LinuxSurroundings(cloud_is_here=here),
        detector=PatternDetector(),
        external=_external(settings),
        places=Places(settings.max_concurrent_requests, wait_s=settings.concurrency_wait_s),
    )


def open_tracing(path: Path, *, keep_days: int) -> Tracing:
    """A store that cannot be opened costs traces, never answers."""
    try:
        return Tracing(TraceStore.open(path), keep_days=keep_days)
    except TraceError as error:
        return Tracing(None, why=error.message)


def _cloud_is_here(folders: Folders) -> bool:
    """Is the enrolled cluster on this machine, so that it needs no network?"""
    from trust.updates import TrustRootStore

    try:
        root = TrustRootStore.of(folders.state).current()
    except LanaiError:
        return False
    return root is not None and root.relay.is_loopback


def _external(settings: Settings) -> External | None:
    """The endpoint outside, where one is configured. Nothing is opened yet."""
    endpoint = configured_endpoint(settings)
    if endpoint is None:
        return None
    from device_agent.external.client import HttpExternal

    return HttpExternal(endpoint)


def _enrolled(folders: Folders, settings: Settings) -> EnrolledCloud:
    """The enrolled cluster. An enrolment that cannot be used costs the cloud, never the device."""
    from device_agent.cloud import UpdatingCloud

    try:
        return EnrolledCloud(UpdatingCloud.enrolled(folders, settings))
    except LanaiError as error:
        return EnrolledCloud(None, refused=error)
