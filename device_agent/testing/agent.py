"""An agent for an app's tests: real router, transcripts, tools, ledger and traces; no model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from device_agent.agent import AsyncAgent, open_tracing
from device_agent.cloud_seam import Cloud
from device_agent.enrolled import EnrolledCloud
from device_agent.ledger import Ledger
from device_agent.local import Device
from device_agent.places import Places
from device_agent.runtime import Runtime
from device_agent.testing.engine import FakeDevice
from lanai.content import Content
from lanai.errors import LanaiError
from lanai.settings import Settings
from router import Policy, Router

__all__ = ["FakeAgent"]


class FakeAgent(AsyncAgent):
    """Says the ``answers`` in turn, the last one for ever; an error among them is raised::

        agent = FakeAgent(tmp_path, ["It is salty."])
        with Agent(agent) as blocking: ...

    Give it to the code under test in place of ``AsyncAgent.from_config()``. Without ``answers``
    the device's model is not installed. ``cloud`` may be a ``RecordedCloud``. ``settings`` are
    settings by name. Its files are in ``folder``; nothing of this machine's settings is read.
    """

    def __init__(
        self,
        folder: Path,
        answers: Sequence[str | LanaiError] = (),
        *,
        cloud: Cloud | None = None,
        **settings: Any,
    ) -> None:
        chosen = Settings(**settings)
        device = FakeDevice(answers, context_tokens=chosen.device_context_tokens)
        runtime = Runtime(
            device=Device(device, context_tokens=chosen.device_context_tokens),
            cloud=EnrolledCloud(cloud),
            router=Router(Policy.load(chosen.policy_file)),
            ledger=Ledger(folder / "ledger.jsonl", keep_content=chosen.ledger_keep_content),
            tracing=open_tracing(folder / "traces.sqlite", keep_days=chosen.trace_keep_days),
            cloud_timeout_s=chosen.cloud_timeout_s,
            places=Places(chosen.max_concurrent_requests, wait_s=chosen.concurrency_wait_s),
        )
        super().__init__(runtime, chosen)
        self._device = device

    @property
    def prompts(self) -> tuple[Content, ...]:
        """What the device was asked, each a whole conversation of ``role: text`` lines."""
        return tuple(self._device.script.prompts)
