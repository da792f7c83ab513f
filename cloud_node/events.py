"""What a cloud process may say about itself: events of a closed list with numbers and code words.

One JSON line each, on standard error. There is no way to log a string: words come from enums, an
exception is reduced to the name of its class and the place in our code. Whatever libraries log is
reduced the same way, since a traceback's message may quote a request. Neither arguments nor the
environment change any of this.
"""

import json
import logging
import sys
import time
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from types import FrameType, TracebackType
from typing import TextIO

from lanai.cli.output import complain
from lanai.errors import LanaiError, RefusalCode, Rejection, UsageError

__all__ = ["Component", "Event", "EventLog", "Field"]

PACKAGES = ("cloud_node", "trust", "inference", "lanai", "protos")


class Component(StrEnum):
    """Who speaks."""

    NODE = "node"
    KEYHOLDER = "keyholder"
    ZYGOTE = "zygote"
    LAUNCHER = "launcher"
    SUPERVISOR = "supervisor"
    STORE = "store"
    GATEWAY = "gateway"
    RELAY = "relay"
    ISSUER = "issuer"
    LOG = "log"
    WITNESS = "witness"
    ATTESTATION_CA = "attestation_ca"
    CLUSTER = "cluster"


class Event(StrEnum):
    """What happened."""

    READY = "ready"
    STOPPING = "stopping"
    STOPPED = "stopped"
    DRAINING = "draining"
    FAILED = "failed"
    REQUEST_DONE = "request_done"
    REQUEST_REFUSED = "request_refused"
    REQUEST_FAILED = "request_failed"
    REQUEST_CANCELLED = "request_cancelled"
    STORE_UNAVAILABLE = "store_unavailable"
    STORE_BACK = "store_back"
    LOG_UNAVAILABLE = "log_unavailable"
    BUNDLE_REFRESHED = "bundle_refreshed"
    KEY_ROTATED = "key_rotated"
    KEYS_READ = "keys_read"
    KEY_REJECTED = "key_rejected"
    PIECE_STARTED = "piece_started"
    PIECE_ENDED = "piece_ended"
    ENGINE_REPLACED = "engine_replaced"
    NODE_STARTED = "node_started"
    NODE_STOPPED = "node_stopped"
    NODE_DIED = "node_died"
    NODE_ADMITTED = "node_admitted"
    NODE_REJECTED = "node_rejected"
    NODE_EVICTED = "node_evicted"
    ROSTER_READ = "roster_read"
    TOKENS_ISSUED = "tokens_issued"
    AK_CERTIFIED = "ak_certified"
    AK_REFUSED = "ak_refused"
    LEAF_APPENDED = "leaf_appended"
    CHECKPOINT_SIGNED = "checkpoint_signed"
    CHECKPOINT_COSIGNED = "checkpoint_cosigned"
    TRUST_SIGNED = "trust_signed"
    LIBRARY_MESSAGE = "library_message"
    UNSAFE_EVIDENCE = "unsafe_evidence"
    PROTECTION_MISSING = "protection_missing"


class Field(StrEnum):
    """The names an event's values may have. Units are in the name."""

    CODE = "code"
    PIECE = "piece"
    PROTECTION = "protection"
    REASON = "reason"
    LEVEL = "level"
    LIVE = "live"
    COUNT = "count"
    NODES = "nodes"
    SIZE = "size"
    BYTES_IN = "bytes_in"
    BYTES_OUT = "bytes_out"
    INPUT_TOKENS = "input_tokens"
    OUTPUT_TOKENS = "output_tokens"
    DURATION_MS = "duration_ms"
    QUEUE_MS = "queue_ms"
    START_MS = "start_ms"
    EXIT_CODE = "exit_code"
    ATTEMPT = "attempt"


Value = int | float | bool | RefusalCode | Rejection | StrEnum


class EventLog:
    """Writes events of one component. ``clock`` returns Unix seconds."""

    def __init__(
        self,
        component: Component,
        *,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._component = component
        self._stream = stream or sys.stderr
        self._clock = clock
        self._serving = False

    def emit(
        self,
        event: Event,
        values: Mapping[Field, Value] | None = None,
        *,
        error: BaseException | None = None,
    ) -> None:
        """Write one event. A value that is no number and no word of an enum is a ``UsageError``."""
        line: dict[str, object] = {
            "time": round(self._clock(), 3),
            "component": str(Component(self._component)),
            "event": str(Event(event)),
        }
        for name, value in (values or {}).items():
            line[str(Field(name))] = _plain(value)
        if error is not None:
            line |= _describe(error)
        self._stream.write(json.dumps(line, allow_nan=False) + "\n")
        self._stream.flush()

    def serves(self) -> None:
        """Requests are seen from here on: nothing is told in words any more."""
        self._serving = True

    def fail(self, error: LanaiError) -> None:
        """This process ends by ``error``; a person who starts one is told in words, too."""
        if not self._serving:
            complain(error.message, hint=error.hint)
        self.emit(Event.FAILED, error=error)

    def take_over_logging(self) -> None:
        """Reduce everything this process would log or print as a traceback to events."""
        logging.basicConfig(handlers=[_Reduce(self)], level=logging.WARNING, force=True)
        logging.captureWarnings(True)
        logging.raiseExceptions = False
        sys.excepthook = lambda kind, error, trace: self.emit(Event.FAILED, error=error)
        sys.unraisablehook = lambda about: self.emit(Event.FAILED, error=about.exc_value)


class _Reduce(logging.Handler):
    """A log record becomes its level and, when there is one, its exception's class."""

    def __init__(self, log: EventLog) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._log.emit(Event.LIBRARY_MESSAGE, {Field.LEVEL: record.levelno}, error=error)


def _plain(value: Value) -> int | float | bool | str:
    if isinstance(value, StrEnum):
        return str(value)
    if type(value) in (int, float, bool):
        return value
    raise UsageError(f"an event carries numbers and code words, not {type(value).__name__}")


def _describe(error: BaseException) -> dict[str, object]:
    """Names from code, never a message: class and innermost place in our own packages."""
    described: dict[str, object] = {"error": type(error).__name__}
    reason = getattr(error, "reason", None) if isinstance(error, LanaiError) else None
    if isinstance(reason, StrEnum):
        described["reason"] = str(reason)
    if place := _place(error.__traceback__):
        described["at"] = place
    return described


def _place(trace: TracebackType | None) -> str | None:
    place = None
    while trace is not None:
        if (name := _module(trace.tb_frame)).split(".")[0] in PACKAGES:
            place = f"{name}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def _module(frame: FrameType) -> str:
    name = frame.f_globals.get("__name__", "")
    if name != "__main__":
        return str(name)
    return f"cloud_node.{Path(frame.f_code.co_filename).stem}"
