"""What all requests of an agent share, and what one request asks."""

from collections.abc import Callable
from dataclasses import dataclass, field

from device_agent.cloud_seam import StreamShape
from device_agent.departure import STAY_AS_IT_IS, Departure
from device_agent.enrolled import EnrolledCloud
from device_agent.external.seam import External as ExternalEndpoint
from device_agent.guardrails import UNGUARDED, Guardrails
from device_agent.ledger import Ledger
from device_agent.local import Device
from device_agent.options import Options
from device_agent.places import Places
from device_agent.remembering import Memory
from device_agent.sensitive import Detector
from device_agent.surroundings import FixedSurroundings, Surroundings
from device_agent.tools import AnyTool
from device_agent.tracing import Tracing
from inference.guided import OutputForm
from inference.text import ChatMessage, ToolChoice
from lanai.content import Content
from router import DataClass, Destination, Mode, Router
from router.vocabulary import External

__all__ = ["Ask", "Runtime"]

MOST_REQUESTS = 32


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
    memory: Memory = field(default_factory=Memory)
    surroundings: Surroundings = field(default_factory=FixedSurroundings)
    detector: Detector | None = None
    external: ExternalEndpoint | None = None
    places: Places = field(default_factory=lambda: Places(MOST_REQUESTS))


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
    category: str | None = None
    """The app's word for requests like this one, where a bound was calibrated by kinds."""
    session_on: Destination | None = None
    """Where the turn before ran; the cloud once, and the conversation is in the cloud."""
    unseen: bool = False
    """Nothing is shown before the answer is whole."""
    check: Callable[[Content], object] | None = field(default=None, repr=False)
    """Raises ``ValidationFailed`` for an answer that is not of the form."""
    departure: Departure = field(default=STAY_AS_IT_IS, repr=False)
    """The app's hooks before anything leaves."""
    guardrails: Guardrails = field(default=UNGUARDED, repr=False)
    external: External = External.NEVER
    """Does the app ask for the endpoint outside, which nobody attested?"""

    @property
    def may_leave(self) -> bool:
        """False where a rule that needs no fact of the cloud keeps the request on the device."""
        return (
            self.mode is not Mode.ONLY_ON_DEVICE
            and self.data_class is not DataClass.SECRET
            and self.consent is not False
        )
