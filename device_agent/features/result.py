"""What every feature's result has beside its value: where it came from, why, and the proof."""

from dataclasses import dataclass, field
from typing import Any

from device_agent.reply import Receipt, Reply
from router.decision import Decision
from router.vocabulary import Destination

__all__ = ["Result"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """``replies``: of every request that was made, in order; see each feature for when none was."""

    replies: tuple[Reply[Any], ...] = field(repr=False)

    @property
    def source(self) -> Destination:
        """The cloud, if it answered any of the requests: then something left the device."""
        return self._telling.source if self._telling else Destination.DEVICE

    @property
    def decision(self) -> Decision | None:
        """Why: of the last request that left, else of the last. ``None``: nothing was routed."""
        return self._telling.decision if self._telling else None

    @property
    def receipt(self) -> Receipt | None:
        """Of the same request; ``None`` where nothing left."""
        return self._telling.receipt if self._telling else None

    @property
    def input_tokens(self) -> int:
        """Of all requests."""
        return sum(reply.usage.input_tokens for reply in self.replies)

    @property
    def output_tokens(self) -> int:
        """Of all requests."""
        return sum(reply.usage.output_tokens for reply in self.replies)

    @property
    def _telling(self) -> Reply[Any] | None:
        left = [reply for reply in self.replies if reply.source is Destination.CLOUD]
        return next(reversed(left or self.replies), None)
