"""A real tiled log of 300 leaves with its mirror and witnesses (FiloSottile/sunlight).

Cannot apply: the log's own signature, which is RFC 6962 ECDSA (kind 0x05, key in
``log.v3.json``). It is ignored as an unknown key's, and the test pins that.
"""

import base64
import json
import shutil
from pathlib import Path

import pytest

from lanai.errors import LogRejected, Rejection
from trust.log.checkpoint import Checkpoint
from trust.log.merkle import verify_inclusion
from trust.log.notes import VerifierKey, open_note, parse_vkey
from trust.log.tiles import read_tree, tile_path, write_tiles

SIZE = 300
TILES = {
    "tile_0_000.bin": tile_path(0, 0),
    "tile_0_001.p_44.bin": tile_path(0, 1, 44),
    "tile_1_000.p_1.bin": tile_path(1, 0, 1),
}


@pytest.fixture
def tile_log(data_folder: Path) -> Path:
    return data_folder / "vectors" / "notes" / "tile_log"


@pytest.fixture
def mirror(tile_log: Path, tmp_path: Path) -> Path:
    """The mirror's tiles where a tiled log keeps them."""
    for name, path in TILES.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tile_log / name, tmp_path / path)
    return tmp_path


def test_tiles_give_the_cosigned_root(tile_log: Path, mirror: Path) -> None:
    """The tree read from the tiles has the root the mirror cosigned."""
    note = (tile_log / "mirror_checkpoint.txt").read_bytes()
    opened = open_note(note, [_key(tile_log, "mirror.v0.json")])
    checkpoint = Checkpoint.parse(opened.text)
    tree = read_tree(mirror, checkpoint.size)
    assert (checkpoint.size, tree.root()) == (SIZE, checkpoint.root)
    assert opened.signers == {"mirror.example.org": 1767139200}


def test_proofs_from_the_tiles_verify(tile_log: Path, mirror: Path) -> None:
    """A proof made from the tiles verifies for every leaf."""
    tree = read_tree(mirror, SIZE)
    for index in range(SIZE):
        verify_inclusion(
            tree.complete(0, index),
            index=index,
            size=SIZE,
            proof=tree.inclusion(index),
            root=tree.root(),
        )


def test_our_hash_tiles_are_theirs(tile_log: Path, mirror: Path, tmp_path: Path) -> None:
    """Writing the tree again gives the published tiles byte for byte, and no other hash tile."""
    again = tmp_path / "again"
    write_tiles(again, read_tree(mirror, SIZE), lambda start, end: [b""] * (end - start), since=0)
    written = {p for p in again.rglob("*") if p.is_file() and "entries" not in p.parts}
    assert written == {again / path for path in TILES.values()}
    for name, path in TILES.items():
        assert (again / path).read_bytes() == (tile_log / name).read_bytes()


@pytest.mark.parametrize("name", ["witness", "witness2"])
def test_witness_cosignatures(tile_log: Path, name: str) -> None:
    """Each witness's cosignature verifies; the log's ECDSA signature is an unknown key's."""
    note = (tile_log / f"{name}_checkpoint.txt").read_bytes()
    opened = open_note(note, [_key(tile_log, f"{name}.v0.json")])
    assert opened.signers == {f"{name}.example.org": 1767139200}
    assert Checkpoint.parse(opened.text).size == SIZE


def test_the_final_tree_head_is_the_cosigned_one(tile_log: Path) -> None:
    """The log's published final root is the one its witness cosigned."""
    final = json.loads((tile_log / "log.v3.json").read_text())["final_tree_head"]
    note = (tile_log / "witness_checkpoint.txt").read_bytes()
    opened = open_note(note, [_key(tile_log, "witness.v0.json")])
    checkpoint = Checkpoint.parse(opened.text)
    assert checkpoint.size == final["tree_size"]
    assert checkpoint.root == base64.b64decode(final["sha256_root_hash"])


def test_another_witness_key_does_not_verify(tile_log: Path) -> None:
    """A cosignature under a key that is not configured counts for nothing."""
    note = (tile_log / "witness_checkpoint.txt").read_bytes()
    with pytest.raises(LogRejected) as refusal:
        open_note(note, [_key(tile_log, "witness2.v0.json")])
    assert refusal.value.reason is Rejection.UNKNOWN_KEY


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        ((0, 1234067), "tile/0/x001/x234/067"),
        ((63, 0), "tile/63/000"),
        (("entries", 999, 255), "tile/entries/999.p/255"),
        ((1, 1000, 1), "tile/1/x001/000.p/1"),
    ],
)
def test_tile_paths(arguments: tuple[int | str, int], path: str) -> None:
    """Tile paths are those of the specification's text."""
    assert tile_path(*arguments) == path


def _key(tile_log: Path, name: str) -> VerifierKey:
    (vkey,) = json.loads((tile_log / name).read_text())["verifier_keys"]
    return parse_vkey(vkey)
