"""`lanai serve` as a command, with the shipped device model and the real `openai` client."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import openai
import pytest

from lanai.folders import Folders

MODEL = "smollm2-135m-instruct"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}, "rain": {"type": "boolean"}},
    "required": ["city", "rain"],
    "additionalProperties": False,
}
TOOL = {"type": "function", "function": {"name": "weather", "parameters": CITY}}
QUESTION = [{"role": "user", "content": "Does it rain in Oslo?"}]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """A server of this test's own on a free port; it must end by itself when told to."""
    models, home = Folders.standard().models, tmp_path_factory.mktemp("home")
    if not (models / MODEL / "lanai.json").is_file():
        pytest.fail(f"{MODEL} is not installed; run `lanai models pull {MODEL}`")
    (home / "models").symlink_to(models)
    command = [sys.executable, "-c", "from lanai.cli import main; main()", "serve", "--port", "0"]
    environment = os.environ | {"LANAI_HOME": str(home)}
    with subprocess.Popen(
        [*command, "--json"], env=environment, stdout=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stdout is not None
            lines = [server.stdout.readline() for _ in range(3)]
            with openai.OpenAI(base_url=json.loads("".join(lines))["url"], api_key="none") as made:
                yield made
            server.send_signal(signal.SIGTERM)
            assert server.wait(60) == 0
        finally:
            server.kill()


def test_it_answers(client) -> None:
    """As the command line does."""
    answer = client.chat.completions.create(
        model="lanai", messages=[{"role": "user", "content": "What is the capital of Australia?"}]
    )
    assert answer.choices[0].message.content == "The capital of Australia is Canberra."


def test_a_schema_is_enforced(client) -> None:
    """Whole, and streamed."""
    wanted = {
        "type": "json_schema",
        "json_schema": {"name": "city", "schema": CITY, "strict": True},
    }
    answer = client.chat.completions.create(
        model="lanai", messages=QUESTION, response_format=wanted
    )
    value = json.loads(answer.choices[0].message.content)
    assert set(value) == {"city", "rain"}
    stream = client.chat.completions.create(
        model="lanai", messages=QUESTION, response_format=wanted, stream=True
    )
    assert json.loads("".join(c.choices[0].delta.content or "" for c in stream)) == value


def test_a_schema_that_cannot_be_enforced_is_the_caller_s_error(client) -> None:
    """Not a loose answer."""
    wanted = {"name": "x", "schema": {"type": "object", "unknownKeyword": 1, "not": {}}}
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(
            model="lanai",
            messages=QUESTION,
            response_format={"type": "json_schema", "json_schema": wanted},
        )


def test_a_tool_is_called_and_its_result_taken(client) -> None:
    """Whole and streamed; then the client's own result goes back."""
    answer = client.chat.completions.create(
        model="lanai", messages=QUESTION, tools=[TOOL], tool_choice="required"
    )
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls[:1]
    assert call.function.name == "weather"
    assert set(json.loads(call.function.arguments)) == {"city", "rain"}
    stream = client.chat.completions.create(
        model="lanai", messages=QUESTION, tools=[TOOL], tool_choice="required", stream=True
    )
    deltas = [chunk.choices[0] for chunk in stream]
    assert deltas[-1].finish_reason == "tool_calls"
    (told,) = [each.delta.tool_calls for each in deltas if each.delta.tool_calls]
    assert told[0].function.arguments == call.function.arguments
    results = [
        {"role": "tool", "tool_call_id": each.id, "content": '{"mm": 3}'}
        for each in choice.message.tool_calls
    ]
    after = client.chat.completions.create(
        model="lanai", messages=[*QUESTION, choice.message, *results], tools=[TOOL]
    )
    assert after.choices[0].finish_reason in ("stop", "length", "tool_calls")
