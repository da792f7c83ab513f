"""What all requests of an agent share, and what one request asks."""

from dataclasses import dataclass, field

from device_agent.cloud_seam import StreamShape
from device_agent.enrolled import EnrolledCloud
from device_agent.ledger import Ledger
from device_agent.local import Device
from device_agent.options import Options
from device_agent.tools import AnyTool
from device_agent.tracing import Tracing
from inference.guided import OutputForm
from inference.text import ChatMessage, ToolChoice
from router import DataClass, Mode, Router

__all__ = ["Ask", "Runtime"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The parts of an agent."""

    device: Device
    cloud: EnrolledCloud
    router: Router
    ledger: Ledger
    tracing: Tracing
    cloud_timeout_s: float
    cloud_stream_shape: StreamShape = "padded"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request as the app made it. ``consent`` ``None``: not asked, the policy says."""

    messages: tuple[ChatMessage, ...]
    options: Options
    max_tokens: int
    mode: Mode
    data_class: DataClass
    consent: bool | None
    form: OutputForm | None = field(default=None, repr=False)
    tools: tuple[AnyTool, ...] = ()
    tool_choice: ToolChoice = ToolChoice.AUTO

    @property
    def may_leave(self) -> bool:
        """False where a rule that needs no fact of the cloud keeps the request on the device."""
        return (
            self.mode is not Mode.ONLY_ON_DEVICE
            and self.data_class is not DataClass.SECRET
            and self.consent is not False
        )
