"""The SDK apps embed: an agent that answers on the device, and in an attested cloud when it helps.

Trusts the local machine, the enrolled trust root and the verified types `trust` builds from it.
Refuses to send anything to a node it has not verified, and to show half an answer as whole.

Importing this package imports no torch, no ray and nothing of the cloud extra: each public name is
loaded when it is first used.
"""

from typing import TYPE_CHECKING

from lanai.lazy import lazily

if TYPE_CHECKING:
    from device_agent.agent import AsyncAgent
    from device_agent.availability import Availability, PartState
    from device_agent.blocking import Agent, Session, Stream
    from device_agent.budget import Budget
    from device_agent.departure import Proposal
    from device_agent.disclosure import Disclosure
    from device_agent.ledger import Ledger
    from device_agent.options import Options
    from device_agent.reply import Receipt, Reply, TextEvent, Usage
    from device_agent.session import AsyncSession, AsyncStream
    from device_agent.toolbox import ToolRun
    from device_agent.tools import FunctionTool
    from device_agent.traces import TraceStore
    from device_agent.transcript import Transcript
    from inference.guided import Choices, JsonSchema, Regex
    from inference.text import ChatMessage, Tool, ToolCall
    from lanai.errors import (
        ConsentRefused,
        ContextOverflow,
        DeadlineExceeded,
        LanaiError,
        ToolFailed,
        ValidationFailed,
    )
    from router.decision import Decision
    from router.vocabulary import DataClass, Destination, Mode, Reason, Stage

__all__ = [
    "Agent",
    "AsyncAgent",
    "AsyncSession",
    "AsyncStream",
    "Availability",
    "Budget",
    "ChatMessage",
    "Choices",
    "ConsentRefused",
    "ContextOverflow",
    "DataClass",
    "DeadlineExceeded",
    "Decision",
    "Destination",
    "Disclosure",
    "FunctionTool",
    "JsonSchema",
    "LanaiError",
    "Ledger",
    "Mode",
    "Options",
    "PartState",
    "Proposal",
    "Reason",
    "Receipt",
    "Regex",
    "Reply",
    "Session",
    "Stage",
    "Stream",
    "TextEvent",
    "Tool",
    "ToolCall",
    "ToolFailed",
    "ToolRun",
    "TraceStore",
    "Transcript",
    "Usage",
    "ValidationFailed",
]

_HOME = {
    "Agent": "device_agent.blocking",
    "AsyncAgent": "device_agent.agent",
    "AsyncSession": "device_agent.session",
    "AsyncStream": "device_agent.session",
    "Availability": "device_agent.availability",
    "Budget": "device_agent.budget",
    "ChatMessage": "inference.text",
    "Choices": "inference.guided",
    "ConsentRefused": "lanai.errors",
    "ContextOverflow": "lanai.errors",
    "DataClass": "router.vocabulary",
    "DeadlineExceeded": "lanai.errors",
    "Decision": "router",
    "Destination": "router.vocabulary",
    "Disclosure": "device_agent.disclosure",
    "FunctionTool": "device_agent.tools",
    "JsonSchema": "inference.guided",
    "LanaiError": "lanai.errors",
    "Ledger": "device_agent.ledger",
    "Mode": "router.vocabulary",
    "Options": "device_agent.options",
    "PartState": "device_agent.availability",
    "Proposal": "device_agent.departure",
    "Reason": "router.vocabulary",
    "Receipt": "device_agent.reply",
    "Regex": "inference.guided",
    "Reply": "device_agent.reply",
    "Session": "device_agent.blocking",
    "Stage": "router.vocabulary",
    "Stream": "device_agent.blocking",
    "TextEvent": "device_agent.reply",
    "Tool": "inference.text",
    "ToolCall": "inference.text",
    "ToolFailed": "lanai.errors",
    "ToolRun": "device_agent.toolbox",
    "TraceStore": "device_agent.traces",
    "Transcript": "device_agent.transcript",
    "Usage": "device_agent.reply",
    "ValidationFailed": "lanai.errors",
}


if not TYPE_CHECKING:
    __getattr__ = lazily(__name__, _HOME)


def __dir__() -> list[str]:
    return sorted(__all__)
