"""`lanai respond --schema`: JSON of a schema on stdout."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from device_agent.agent import AsyncAgent
from lanai.cli.mount import run
from lanai.content import Content
from lanai.settings import Settings

MakeStage = Callable[..., Any]
FakeCloud = Callable[..., Any]

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
ADA = '{"name": "Ada", "age": 36}'


@pytest.fixture
def schema(tmp_path: Path) -> str:
    path = tmp_path / "person.json"
    path.write_text(json.dumps(SCHEMA))
    return str(path)


@pytest.fixture
def use(stage: MakeStage, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    def install(*answers: str, **more: Any) -> None:
        made = stage(*answers, **more)

        def from_config(*, mode: str | None = None, **_: object) -> AsyncAgent:
            settings = Settings(mode=mode or "auto", max_output_tokens=100)
            return AsyncAgent(made.agent._runtime, settings)

        monkeypatch.setattr(AsyncAgent, "from_config", from_config)

    return install


@pytest.mark.parametrize("more", [[], ["--stream"]])
def test_the_answer_is_json_of_the_schema(
    use: Callable[..., None], schema: str, capsys: Any, more: list[str]
) -> None:
    """On the device, at once or as it comes."""
    use(ADA)
    assert run(["respond", "who", "--schema", schema, *more]) == 0
    assert json.loads(capsys.readouterr().out) == json.loads(ADA)


def test_in_the_cloud_too_with_the_value_in_the_json_output(
    use: Callable[..., None], fake_cloud: FakeCloud, schema: str, capsys: Any
) -> None:
    """`--json` has the text as ever and, beside it, the value."""
    use(cloud=fake_cloud([[Content(ADA)]]))
    arguments = ["respond", "who", "--schema", schema, "--json", "--mode", "only_in_cloud"]
    assert run(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["source"], document["text"], document["value"]) == (
        "cloud", ADA, json.loads(ADA),
    )  # fmt: skip


@pytest.mark.parametrize("content", [None, "not json", "[1]", '{"type": "nonsense"}'])
def test_a_file_without_a_schema_is_a_usage_error(
    use: Callable[..., None], tmp_path: Path, capsys: Any, content: str | None
) -> None:
    """Missing, not JSON, no object, no schema: exit 2, nothing printed but the talk."""
    use("x")
    path = tmp_path / "schema.json"
    if content is not None:
        path.write_text(content)
    assert run(["respond", "who", "--schema", str(path)]) == 2
    printed = capsys.readouterr()
    assert (printed.out, "\nhint: " in printed.err) == ("", True)
