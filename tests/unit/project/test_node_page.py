"""The page about a node's processes says what the code does."""

import re
from pathlib import Path

import pytest

import cloud_node.tree.confinements as lists
from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from cloud_node.service import PinnedEndpoint
from cloud_node.tree.confinements import (
    front_confinement,
    keyholder_confinement,
    worker_confinement,
    zygote_confinement,
)
from cloud_node.tree.tree import MINUTE_S, PATIENCE
from inference.confining import engine_confinement
from lanai.confinement import Confinement

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "node.md").read_text(encoding="utf-8")
CONFIG = NodeConfig(
    name="node-0",
    profile="development",
    store_url="unix:///s.sock",
    log=PinnedEndpoint(address="127.0.0.1:1", certificate=""),
    model_folder="/models/tiny",
    model_name="tiny",
    context_tokens=64,
    threads=1,
    evidence=EvidenceConfig(unsafe_software_key=Path("/keys/software.pem")),
)
PIECES = {
    "front": front_confinement(CONFIG),
    "keyholder": keyholder_confinement(CONFIG),
    "zygote": zygote_confinement(),
    "worker": worker_confinement(),
    "engine": engine_confinement(Path("/models/tiny")),
}
RIGHTS = {
    "makes sockets": lambda piece: piece.sockets,
    "listens": lambda piece: piece.tcp_bind,
    "forks": lambda piece: piece.fork,
    "executes a program": lambda piece: piece.execute,
    "has threads": lambda piece: piece.threads,
    "changes a file or device": lambda piece: bool(piece.write),
}


def table(text: str, head: str) -> list[str]:
    """Lines of the table whose heading begins so."""
    lines = text[text.index(head) :].splitlines()
    end = next((at for at, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return lines[:end]


def test_the_list_of_confinements_is_the_codes_own() -> None:
    """Word by word what stands on top of the file that confines."""
    head = "| piece     | network"
    assert table(PAGE, head) == table(lists.__doc__ or "", head)


@pytest.mark.parametrize("row", table(PAGE, "| right |")[2:])
def test_each_right_is_what_the_piece_has(row: str) -> None:
    """``yes`` and ``no`` hold always; ``with …`` is a no on this configuration or machine."""
    _, right, *cells, _ = (cell.strip() for cell in row.split("|"))
    for piece, cell in zip(PIECES.values(), cells, strict=True):
        assert isinstance(piece, Confinement)
        assert cell in ("yes", "no") or cell.startswith("with ")
        if cell != "with a GPU":  # this machine may have one
            assert RIGHTS[right](piece) is (cell == "yes")


def test_every_right_is_in_the_table() -> None:
    """The columns are the pieces, the rows all that is asked here."""
    head, _, *rows = table(PAGE, "| right |")
    assert [cell.strip() for cell in head.split("|")[2:-1]] == list(PIECES)
    assert {row.split("|")[1].strip() for row in rows} == set(RIGHTS)


def test_its_numbers_are_the_codes() -> None:
    """Restarts before a node gives up, a worker's memory, lifetimes."""
    assert (PATIENCE, MINUTE_S) == (5, 60.0)
    assert "five times in a minute" in PAGE
    (megabytes,) = {
        int(found)
        for path in (ROOT / "cloud_node" / "tree").glob("*.py")
        for found in re.findall(
            r"WORKER_MEMORY_BYTES: Final = (\d+) \* 1024 \* 1024", path.read_text()
        )
    }
    assert f"{megabytes} MiB" in PAGE
    assert CONFIG.key_lifetime_s == 24 * 3600
    assert CONFIG.engine_lifetime_s == 3600


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:[\w-]+/)+[\w.-]*)`", PAGE))))
def test_files_that_it_names_exist(path: str) -> None:
    """A page that points into the code is changed with it."""
    assert (ROOT / path).exists()
