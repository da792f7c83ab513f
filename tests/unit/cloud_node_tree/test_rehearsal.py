"""What a worker runs before its request comes."""

import os
from pathlib import Path

import pytest

from cloud_node.tree.rehearsal import Rehearsal
from cloud_node.tree.request_socket import DONE, FRAME
from cloud_node.tree.worker import Room
from inference.testing.tiny_model import write_tiny_model
from inference.text import load_text_model

CONTEXT = 256


@pytest.fixture
def room(tmp_path: Path) -> Room:
    text = load_text_model(write_tiny_model(tmp_path / "tiny"))
    return Room(text=text, model="tiny", context_tokens=CONTEXT, timeout_s=30.0)


def test_a_rehearsal_is_a_whole_answer(room: Room) -> None:
    """The nonce, text and the final record leave the worker, and then that it is done."""
    said = Rehearsal(room.text, context_tokens=CONTEXT)(room)
    assert said == 3 * FRAME + DONE


def test_it_can_be_run_by_every_worker_and_leaves_nothing_open(room: Room) -> None:
    """The same exchange each time; no descriptor stays."""
    rehearsal = Rehearsal(room.text, context_tokens=CONTEXT)
    before = set(os.listdir("/proc/self/fd"))
    assert rehearsal(room) == rehearsal(room)
    assert set(os.listdir("/proc/self/fd")) <= before
