"""What the frames between parent and child say, and how values become messages and back.

| parent → child                      | child → parent                                      |
|-------------------------------------|-----------------------------------------------------|
| ``load``: folder, context, threads  | ``ready``: ``EngineInfo``; or ``unloadable``: code  |
| ``submit``: options, array prompt   | ``prefilled``, ``token``, ``finished``              |
| ``mask``: array mask, or none       | ``ask``: the next step needs a mask                 |
| ``cancel``                          | ``failed``: code                                    |
| ``retire``: end after the last      |                                                     |

A worker that came through the door says ``submit``, ``mask`` and ``cancel`` only. The end of the
stream, in either direction, means that the other side is gone. What the engine's process parses it
also checks: a worker may be broken, and must not break the engine for the others.
"""

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from inference.admission import (
    check_adapter,
    check_mask,
    check_options,
    check_prompt_again,
)
from inference.engine import (
    EngineInfo,
    Finished,
    FinishReason,
    GenerateOptions,
    Prefilled,
    Sampling,
    Token,
    TokenStatistics,
)
from inference.scheduler import FailureCode, MaskNeeded, Outcome, RequestFailed
from inference.wire import Message
from lanai.errors import AdapterFault, ContextOverflow, EngineCrashed, UsageError

__all__ = [
    "LoadFailure",
    "LoadOrder",
    "Submission",
    "cancel_message",
    "info_message",
    "mask_message",
    "outcome_message",
    "parse_info",
    "parse_load_failure",
    "parse_mask",
    "parse_outcome",
    "parse_request",
    "retire_message",
    "unloadable_message",
]


_PATHS: Final = ("model", "adapters", "draft")


class LoadFailure(StrEnum):
    """Why the model did not load: the only words about it that leave the child."""

    NOT_FOUND = "not_found"
    FORMAT = "format"
    UNSUPPORTED = "unsupported"
    CONTEXT = "context"
    DRAFT = "draft"
    NO_MEMORY = "no_memory"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOrder:
    """The first message: what the child shall become."""

    model: Path
    context_tokens: int
    threads: int
    weights_sha256: str
    adapters: Path | None = None
    """The folder of those a request may name."""
    draft: Path | None = None
    """A smaller model of the same tokens, which guesses."""

    def to_message(self) -> Message:
        fields = asdict(self)
        paths = {key: fields[key] and str(fields[key]) for key in _PATHS}
        return Message(kind="load", fields=fields | paths)

    @classmethod
    def parse(cls, message: Message) -> "LoadOrder":
        fields = _fields(message, "load")
        paths = {key: (said := fields.get(key)) and Path(said) for key in _PATHS}
        return cls(**{**fields, **paths})


@dataclass(frozen=True, slots=True, kw_only=True)
class Submission:
    """One request on its way to the scheduler."""

    request_id: str
    prompt: NDArray[np.int32]
    options: GenerateOptions
    constrained: bool
    adapter: str | None = None

    def to_message(self) -> Message:
        options = asdict(self.options)
        options["stop_ids"] = sorted(self.options.stop_ids)
        return Message(
            kind="submit",
            fields={
                "request": self.request_id,
                "options": options,
                "constrained": self.constrained,
                "adapter": self.adapter,
            },
            arrays={"prompt": self.prompt},
        )

    @classmethod
    def parse(cls, message: Message) -> "Submission":
        """Raises ``EngineCrashed`` for anything but what ``to_message`` makes."""
        match message.fields:
            case {
                "request": str(request),
                "options": options,
                "constrained": bool(constrained),
                "adapter": str() | None as adapter,
            }:
                return cls(
                    request_id=request,
                    prompt=_prompt(message),
                    options=_options(options),
                    constrained=constrained,
                    adapter=adapter,
                )
        raise _unexpected()

    def check(self, info: EngineInfo) -> None:
        """The rules of ``Engine.submit``, checked once more. Raises ``EngineCrashed``."""
        try:
            check_adapter(self.adapter, info)
            check_options(self.options)
            check_prompt_again(self.prompt, self.options, info)
        except (UsageError, ContextOverflow):
            raise _unexpected() from None


def info_message(info: EngineInfo) -> Message:
    """``ready``."""
    return Message(kind="ready", fields=asdict(info))


def parse_info(message: Message) -> EngineInfo:
    """Raises ``EngineCrashed`` when the message is not ``ready``."""
    try:
        fields = _fields(message, "ready")
        return EngineInfo(**{**fields, "lacking": tuple(fields.get("lacking", ()))})
    except TypeError:
        raise _unexpected() from None


def unloadable_message(failure: LoadFailure) -> Message:
    return Message(kind="unloadable", fields={"code": failure.value})


def parse_load_failure(message: Message) -> LoadFailure:
    """The code; one this version does not know is ``INTERNAL``."""
    code = message.fields.get("code")
    return LoadFailure(code) if code in set(LoadFailure) else LoadFailure.INTERNAL


def cancel_message(request_id: str) -> Message:
    return Message(kind="cancel", fields={"request": request_id})


def mask_message(request_id: str, mask: NDArray[np.uint32] | None) -> Message:
    """The answer to ``ask``; no array means that every token is allowed."""
    arrays = {} if mask is None else {"mask": mask.astype("<u4", copy=False)}
    return Message(kind="mask", fields={"request": request_id}, arrays=arrays)


def parse_mask(message: Message, vocabulary: int) -> tuple[str, NDArray[np.uint32] | None]:
    """Raises ``EngineCrashed`` for a mask that is none of this vocabulary."""
    try:
        return parse_request(message), check_mask(message.arrays.get("mask"), vocabulary)
    except UsageError:
        raise _unexpected() from None


def parse_request(message: Message) -> str:
    """Which request a message is about. Raises ``EngineCrashed`` when it does not say."""
    match message.fields:
        case {"request": str(request)}:
            return request
    raise _unexpected()


def retire_message() -> Message:
    """Take in nobody new and end with the last request."""
    return Message(kind="retire")


def outcome_message(request_id: str, outcome: Outcome) -> Message:
    """What the scheduler said about one request, as a message."""
    to = {"request": request_id}
    match outcome:
        case Prefilled():
            return _prefilled_message(to, outcome)
        case Token(id=token, statistics=statistics):
            return Message(
                kind="token", fields={**to, "id": token, "statistics": _packed(statistics)}
            )
        case Finished():
            facts = asdict(outcome) | {"reason": outcome.reason.value}
            return Message(kind="finished", fields=to | facts)
        case RequestFailed(code=code):
            return Message(kind="failed", fields={**to, "code": code.value})
        case MaskNeeded():
            return Message(kind="ask", fields=to)


def _prefilled_message(to: dict[str, Any], event: Prefilled) -> Message:
    facts = {
        "input_tokens": event.input_tokens,
        "queue_s": event.queue_s,
        "prefill_s": event.prefill_s,
        "statistics": _packed(event.statistics),
    }
    hidden = event.hidden_state
    arrays = {} if hidden is None else {"hidden": hidden.astype("<f4", copy=False)}
    return Message(kind="prefilled", fields={**to, **facts}, arrays=arrays)


def parse_outcome(message: Message) -> tuple[str, Outcome]:
    """The request's id and what happened to it. Raises ``EngineCrashed`` for unknown words."""
    try:
        fields = dict(message.fields)
        return fields.pop("request"), _outcome(message, fields)
    except (KeyError, TypeError, ValueError):
        raise _unexpected() from None


def _outcome(message: Message, fields: dict[str, Any]) -> Outcome:
    match message.kind:
        case "token":
            return Token(id=fields["id"], statistics=_unpacked(fields["statistics"]))
        case "prefilled":
            fields["statistics"] = _unpacked(fields["statistics"])
            return Prefilled(**fields, hidden_state=message.arrays.get("hidden"))
        case "finished":
            fields["reason"] = FinishReason(fields["reason"])
            return Finished(**fields)
        case "failed":
            code = fields["code"]
            faults = set(AdapterFault)
            return RequestFailed(code=(AdapterFault if code in faults else FailureCode)(code))
        case "ask":
            return MaskNeeded()
    raise _unexpected()


def _prompt(message: Message) -> NDArray[np.int32]:
    prompt = message.arrays.get("prompt")
    if prompt is None or prompt.ndim != 1 or prompt.dtype != np.int32:
        raise _unexpected()
    return prompt


def _options(fields: Any) -> GenerateOptions:
    match fields:
        case {
            "max_tokens": int(max_tokens),
            "stop_ids": [*stop_ids],
            "sampling": sampling,
            "hidden_state": bool(hidden_state),
            "statistics": bool(statistics),
            "speculation": bool(speculation),
            **rest,
        } if not rest and all(type(stop) is int for stop in stop_ids):
            return GenerateOptions(
                max_tokens=max_tokens,
                stop_ids=frozenset(stop_ids),
                sampling=_sampling(sampling),
                hidden_state=hidden_state,
                statistics=statistics,
                speculation=speculation,
            )
    raise _unexpected()


def _sampling(fields: Any) -> Sampling:
    match fields:
        case {
            "temperature": int() | float() as temperature,
            "top_p": int() | float() as top_p,
            "top_k": int(top_k),
            "seed": int() | None as seed,
            **rest,
        } if not rest:
            return Sampling(temperature=temperature, top_p=top_p, top_k=top_k, seed=seed)
    raise _unexpected()


def _packed(statistics: TokenStatistics | None) -> list[float | None] | None:
    if statistics is None:
        return None
    return [
        statistics.entropy,
        statistics.margin,
        statistics.top_probability,
        statistics.chosen_log_probability,
    ]


def _unpacked(values: list[Any] | None) -> TokenStatistics | None:
    if values is None:
        return None
    entropy, margin, top, chosen = values
    return TokenStatistics(
        entropy=entropy, margin=margin, top_probability=top, chosen_log_probability=chosen
    )


def _fields(message: Message, kind: str) -> dict[str, Any]:
    if message.kind != kind:
        raise _unexpected()
    return message.fields


def _unexpected() -> EngineCrashed:
    return EngineCrashed("unexpected message between the engine and its child")
