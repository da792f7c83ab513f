"""Starting the engine's child, and what its refusal to load means to a person."""

import os
import socket
import subprocess
import sys
from collections.abc import Collection, Mapping

from inference.dialogue import LoadFailure
from inference.openmp import set_openmp
from lanai.errors import (
    ConfigError,
    EngineCrashed,
    EngineError,
    LanaiError,
    ModelFormatError,
    ModelNotFound,
    UnsupportedModel,
)

__all__ = ["load_error", "spawn_child"]


def spawn_child(
    theirs: socket.socket,
    threads: int,
    *,
    door: socket.socket | None = None,
    environment: Mapping[str, str] | None = None,
    processors: Collection[int] = (),
) -> "subprocess.Popen[bytes]":
    """A process that has ``theirs``, ``door``, and nothing else of ours.

    ``environment`` ``None``: a copy of our own. ``processors``: those it may run on; none given:
    those that we may. Raises ``EngineCrashed``.
    """
    given = dict(os.environ if environment is None else environment)
    descriptors = [end.fileno() for end in (theirs, door) if end is not None]
    try:
        process = subprocess.Popen(
            # -P: the working folder must not be a place to import code from.
            [sys.executable, "-P", "-m", "inference.child", *map(str, descriptors)],
            pass_fds=descriptors,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=set_openmp(given, threads),
        )
        if processors:  # before it has threads: they inherit this
            os.sched_setaffinity(process.pid, processors)
    except OSError as error:
        raise EngineCrashed("cannot start the engine's process") from error
    return process


def load_error(failure: LoadFailure) -> LanaiError:
    """The error a caller of ``ProcessEngine.start`` sees."""
    show = "`lanai models show NAME` prints what is known of it"
    match failure:
        case LoadFailure.NOT_FOUND:
            return ModelNotFound("the engine found no model there", hint="`lanai models pull NAME`")
        case LoadFailure.FORMAT:
            return ModelFormatError("the model's files are damaged", hint="pull the model again")
        case LoadFailure.UNSUPPORTED:
            return UnsupportedModel("the model is of a kind that is not built here", hint=show)
        case LoadFailure.CONTEXT:
            return ConfigError("the model does not have so long a context", hint=show)
        case LoadFailure.DRAFT:
            return ConfigError(
                "the draft model cannot guess for this model",
                hint="device_draft_model: a smaller one of the same vocabulary, whose context is "
                "as long",
            )
        case LoadFailure.NO_MEMORY:
            return EngineError("no memory to load the model", hint="choose a smaller model")
        case LoadFailure.INTERNAL:
            return EngineError("the model could not be loaded", hint=show)
