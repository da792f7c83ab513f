"""Stand-ins for tests, an app's and our own. What is faked is the network and the model, no check.

| | |
|---|---|
| `FakeAgent` | an `AsyncAgent` that says what the test wrote |
| `RecordedCloud`, `record` | answers of a real cluster, recorded once, played in tests |
| `InMemoryCloud`, `Script` | a cluster in memory: real seals, tokens, evidence |

Evidence in memory is ``unsafe_software`` under a development root made for the test. Nothing here
starts a process or opens a connection.
"""

from device_agent.testing.agent import FakeAgent
from device_agent.testing.cloud import InMemoryCloud, Script
from device_agent.testing.recorded import RecordedCloud, Recording, record

__all__ = ["FakeAgent", "InMemoryCloud", "RecordedCloud", "Recording", "Script", "record"]
