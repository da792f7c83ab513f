"""What an app gets back: the text, where it came from, why, and proof of what answered."""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from inference.engine import FinishReason
from inference.text import ToolCall
from lanai.content import Content
from router.decision import Decision
from router.vocabulary import Destination, Reason, Stage

if TYPE_CHECKING:
    from device_agent.toolbox import ToolRun

__all__ = ["Ending", "Receipt", "Reply", "TextEvent", "Usage"]

T = TypeVar("T", default=Content)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """``ttft_ms``: from the call to the first text shown. ``tokens_per_s``: of the decode alone."""

    input_tokens: int
    output_tokens: int
    ttft_ms: float | None
    tokens_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The verified node that answered.

    ``node``: hex SHA-256 of its key; ``measurement``: digest of the logged release it runs;
    ``evidence``: the kind that proved it; ``log_checkpoint``: hash of the checkpoint it was in.
    ``shape``: what sizes and times of the answer showed on its way, ``padded`` or ``constant``.
    """

    node: str
    measurement: str
    evidence: str
    log_checkpoint: str
    shape: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How a whole answer ended, on either side. ``decode_s``: seconds from first to last token."""

    model: str
    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int
    decode_s: float | None
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TextEvent:
    """A piece of the answer, ready to be shown after the pieces before it.

    ``partial``, with `into`: the parts of the value that are whole so far, as JSON values; of a
    Pydantic model a dict of its fields, each of its own type once it is one. ``tool_run``: a call
    that was just run; ``text`` is then empty.
    """

    text: Content
    partial: Any = None
    tool_run: "ToolRun | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply(Generic[T]):
    """A whole answer; there is none for an answer that broke off. ``receipt`` is cloud only.

    ``value``: the answer as what `into` asked for, the text itself without it. ``tool_runs``: the
    calls that were run on the way. Where tools were, ``text``, ``source``, ``decision``,
    ``receipt`` and ``trace_id`` are of the last request; ``usage`` counts the tokens of all.
    ``tool_calls``: calls of tools that have no function here, for the app to run. ``summarized``:
    messages that were told in a summary before this request, in a session that makes itself fit.
    """

    value: T
    text: Content
    source: Destination
    model: str
    decision: Decision
    usage: Usage
    receipt: Receipt | None
    trace_id: str
    finish_reason: FinishReason
    tool_runs: "tuple[ToolRun, ...]" = ()
    tool_calls: tuple[ToolCall, ...] = ()
    summarized: int = 0

    @property
    def fallback(self) -> Reason | None:
        """Why the device answered in the cloud's place; ``None`` where nothing failed."""
        return self.decision.reason if self.decision.stage is Stage.FALLBACK else None

    def to_json_dict(self) -> dict[str, Any]:
        """Plain JSON values, as ``lanai respond --json`` prints them."""
        document: dict[str, Any] = {
            "text": str(self.text),
            "source": self.source.value,
            "model": self.model,
            "decision": self.decision.to_json_dict(),
            "fallback": self.fallback.value if self.fallback else None,
            "usage": asdict(self.usage),
            "finish_reason": self.finish_reason.value,
            "trace_id": self.trace_id,
            **({"summarized": self.summarized} if self.summarized else {}),
        }
        if self.receipt is not None:
            document["receipt"] = asdict(self.receipt)
        return document
