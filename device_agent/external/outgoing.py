"""What may go outside, as a type: the sender's own check, whatever the router has decided.

1. The data class is public.
2. The request is plain text: no form, no tools, no results of tools.
3. The detector is asked once more, about the very text that leaves: what `redact` made of it.
   Anything that the policy raises by is too much.
"""

from dataclasses import dataclass, field

from device_agent.cloud_seam import CloudAsk
from device_agent.sensitive import Detector
from lanai.errors import NoRoute
from router.policy_parts import Raised
from router.vocabulary import DataClass, Reason

__all__ = ["Outgoing"]

PLAIN = frozenset({"system", "user", "assistant"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outgoing:
    """Raises ``NoRoute`` when it is made of what must stay."""

    ask: CloudAsk = field(repr=False)
    data_class: DataClass
    raised: Raised = field(repr=False)
    detector: Detector | None = field(repr=False)

    def __post_init__(self) -> None:
        # 1. As the app said, and the router found.
        if self.data_class is not DataClass.PUBLIC:
            raise _stays(Reason.EXTERNAL_NOT_PUBLIC)
        # 2. Plain.
        ask = self.ask
        calls = any(each.tool_calls or each.role not in PLAIN for each in ask.messages)
        if ask.form is not None or ask.tools or calls:
            raise _stays(Reason.EXTERNAL_CANNOT)
        # 3. The text itself.
        if self.detector is not None:
            found = self.detector.notice([each.text for each in ask.messages]).found
            if self.raised.raised(self.data_class, found) is not DataClass.PUBLIC:
                raise _stays(Reason.EXTERNAL_NOT_PUBLIC)


def _stays(reason: Reason) -> NoRoute:
    return NoRoute(
        f"this request must not go outside ({reason.value}); nothing was sent",
        reason=reason.value,
        hint="leave `external` out, or let device or cloud answer",
    )
