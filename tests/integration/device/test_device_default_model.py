"""The shipped device model through the installed command."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lanai.folders import Folders

MODEL = "smollm2-135m-instruct"


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """A fresh home with the installed models (`make test` has pulled them), as many threads as by
    default.
    """
    models = Folders.standard().models
    if not (models / MODEL / "lanai.json").is_file():
        message = f"{MODEL} is not installed; run `lanai models pull {MODEL}`"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    (tmp_path / "models").symlink_to(models)
    others = {name: value for name, value in os.environ.items() if name != "LANAI_DEVICE_THREADS"}
    return others | {"LANAI_HOME": str(tmp_path)}


def lanai(*arguments: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from lanai.cli import main; main()", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)


def test_it_knows_the_capital_of_australia(environment) -> None:
    """Greedy decoding of the source question, from the command line; the trace is there after."""
    question = "What is the capital of Australia?"
    done = lanai("respond", question, "--json", environment=environment)
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["text"] == "The capital of Australia is Canberra."
    assert (document["source"], document["model"]) == ("device", MODEL)
    assert document["usage"]["tokens_per_s"] > 0
    shown = lanai("trace", "show", document["trace_id"][:12], "--json", environment=environment)
    assert document["decision"] == json.loads(shown.stdout)["decision"]
    assert question.split()[3] not in shown.stdout


def test_doctor_finds_the_device_ready(environment) -> None:
    """Exit 0, with the keys people rely on."""
    done = lanai("doctor", "--json", environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["device"]["ready"]
    assert {"ready", "reason", "hint"} == set(document["cloud"])
