"""A member of the Ray cluster may run code on every other: nothing worth having is there."""

import json
import subprocess
import sys
from io import StringIO
from types import SimpleNamespace

import pytest

from cloud_node.events import Component, EventLog
from cloud_node.launcher import Launcher
from cloud_node.launcher_config import LauncherConfig

SERVING = (
    "cloud_node.node.serving",
    "cloud_node.tree.keyholder_piece",
    "cloud_node.tree.zygote_piece",
    "cloud_node.gateway.__main__",
    "cloud_node.relay",
    "cloud_node.tree.piece",
)
FOUND = """
import importlib, json, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
print(json.dumps(sorted(name for name in sys.modules if name.split(".")[0] == "ray")))
"""


@pytest.mark.parametrize("name", SERVING)
def test_no_process_with_request_bytes_loads_ray(name: str) -> None:
    """Gateway, relay and node are no Ray processes, and have no code to become one."""
    done = subprocess.run(
        [sys.executable, "-c", FOUND, name], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == []


@pytest.fixture
def launcher(tmp_path) -> Launcher:
    """One whose node cannot be started, since there is none."""
    config = LauncherConfig.model_construct(
        node_config=str(tmp_path / "absent.json"),
        node_log=None,
        start_timeout_s=1.0,
        stop_timeout_s=1.0,
    )
    return Launcher(config, SimpleNamespace(log=EventLog(Component.LAUNCHER, stream=StringIO())))


@pytest.mark.parametrize(
    ("line", "word"),
    [
        (b'{"verb": "run"}', "unknown_verb"),
        (b'{"verb": "_start"}', "unknown_verb"),
        (b'{"verb": ["start"]}', "unknown_verb"),
        (b'{"verb": "start", "node_config": "/tmp/own.json"}', "malformed"),
        (b'{"verb": "start", "env": {"LD_PRELOAD": "own.so"}}', "malformed"),
        (b"", "malformed"),
        (b"[" * 1020, "malformed"),
        (b"\xff\xfe", "malformed"),
    ],
)
async def test_the_launcher_takes_four_verbs_and_nothing_beside(launcher, line, word) -> None:
    """What Ray's supervisor may say to the host: no path, no command, no environment, no bytes."""
    answer = await launcher.carry_out(line)
    assert (answer["ok"], answer["error"]) == (False, word)
    assert answer["pieces"] == {}


async def test_the_launcher_tells_state_and_no_content(launcher) -> None:
    """A status has a closed set of keys, none of which a request could be in."""
    answer = await launcher.carry_out(b'{"verb": "status"}')
    assert set(answer) == {"ok", "state", "live", "address", "node_id", "pieces", "missing"}
