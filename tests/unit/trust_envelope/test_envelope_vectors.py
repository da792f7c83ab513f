"""The checked-in vectors are what the generator makes; a refused case is refused as it says."""

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest

from lanai.errors import EnvelopeRejected
from trust.envelope import (
    EnvelopeHeader,
    NodeKey,
    SealedChunk,
    WrappedKey,
    open_request,
)
from trust.envelope.answer import AnswerOpener
from trust.envelope.keys import RequestSecrets
from trust.envelope.vectors import make_vectors

FILE = Path(__file__).resolve().parents[2] / "vectors" / "envelope.json"
VECTORS = json.loads(FILE.read_text())
REFUSED = VECTORS["refused"]


def raw(text: str) -> bytes:
    return base64.b64decode(text)


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def flipped(value: str) -> str:
    data = raw(value)
    return text(bytes([data[0] ^ 1]) + data[1:])


def test_the_file_is_what_the_generator_makes() -> None:
    """Regenerating it changes nothing (`python -m trust.envelope.vectors`), and it is small."""
    assert json.dumps(make_vectors(), indent=1) + "\n" == FILE.read_text()
    assert FILE.stat().st_size < 300_000


def header_of(values: dict[str, Any]) -> EnvelopeHeader:
    keys = tuple(WrappedKey(raw(k["node_id"]), raw(k["sealed"])) for k in values["keys"])
    numbers = {name: values[name] for name in ("version", "expires_at")}
    names = ("request_id", "token_hash", "checkpoint_hash", "policy_digest", "key_commitment")
    return EnvelopeHeader(keys=keys, **numbers, **{name: raw(values[name]) for name in names})


def chunks_of(values: list[dict[str, Any]]) -> list[SealedChunk]:
    return [SealedChunk(data=raw(value["data"]), last=value["last"]) for value in values]


def read(vector: dict[str, Any], *, now: int, key: NodeKey, tls: bytes) -> bool:
    """Open keys, body and answer; whether the answer came whole. Raises ``EnvelopeRejected``."""
    header = header_of(vector["header"])
    opened = open_request(header, key, tls_spki_sha256=tls, now=now)
    assert opened.body(chunks_of(vector["chunks"])) == raw(vector["body"])
    secrets = RequestSecrets.parse(opened.to_secret())
    opener = AnswerOpener({key.node_id: secrets}, header_digest=header.digest())
    opener.start(raw(vector["answer"]["server_nonce"]))
    messages = [opener.open(frame) for frame in chunks_of(vector["answer"]["frames"])]
    expected = [raw(message) for message in vector["answer"]["messages"]]
    if opener.finished:
        assert [message for message in messages if message is not None] == expected
    return opener.finished


def named(name: str) -> dict[str, Any]:
    [vector] = [copy.deepcopy(v) for v in VECTORS["envelopes"] if v["name"] == name]
    return vector


def answering(vector: dict[str, Any]) -> tuple[NodeKey, bytes]:
    for node in vector["nodes"]:
        key = NodeKey(raw(node["seed"]))
        if key.node_id == raw(vector["answer"]["node_id"]):
            return key, raw(node["tls_spki_sha256"])
    raise AssertionError("no such node")


@pytest.mark.parametrize("vector", VECTORS["envelopes"], ids=lambda vector: vector["name"])
def test_sound_vectors_open(vector: dict[str, Any]) -> None:
    """Unchanged, every vector opens whole."""
    key, tls = answering(vector)
    assert read(vector, now=VECTORS["now"], key=key, tls=tls)


def change_header(vector: dict[str, Any], case: dict[str, Any], own: bytes) -> None:
    header, field = vector["header"], case["field"]
    mine = [raw(k["node_id"]) == own for k in header["keys"]].index(True)
    match case["do"], field:
        case "flip", "own key":
            header["keys"][mine]["sealed"] = flipped(header["keys"][mine]["sealed"])
        case "flip", "another key":
            other = header["keys"][mine - 1]
            other["sealed"] = flipped(other["sealed"])
        case "flip", _:
            header[field] = flipped(header[field])
        case "set", _:
            header[field] = case["value"]
        case "swap", "keys":
            header["keys"].reverse()
        case "repeat", "keys":
            header["keys"] = [header["keys"][0]] * case["value"]
        case "drop", "keys":
            header["keys"] = []


def change_stream(vector: dict[str, Any], case: dict[str, Any]) -> None:
    stream = vector["chunks"] if case["in"] == "chunks" else vector["answer"]["frames"]
    place = case["place"]
    match case["do"]:
        case "flip":
            stream[place]["data"] = flipped(stream[place]["data"])
        case "last":
            stream[place]["last"] = not stream[place]["last"]
        case "cut":
            stream[place]["data"] = text(raw(stream[place]["data"])[:-1])
        case "drop":
            del stream[place]
        case "repeat":
            stream.append(stream[place])
        case "swap":
            stream[place], stream[place + 1] = stream[place + 1], stream[place]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: "-".join(map(str, case.values())))
def test_refused_vectors_are_refused_for_their_reason(case: dict[str, Any]) -> None:
    """One change to a sound vector: the reason is the one the file names."""
    vector = named(case["of"])
    (key, tls), now = answering(vector), VECTORS["now"]
    match case:
        case {"field": _}:
            change_header(vector, case, key.node_id)
        case {"in": _}:
            change_stream(vector, case)
        case {"do": "now"}:
            now = case["value"]
        case {"do": "node"}:
            key = NodeKey(raw(named("no body")["nodes"][0]["seed"]))
        case {"do": "tls"}:
            tls = bytes([tls[0] ^ 1]) + tls[1:]
    if case["reason"] == "truncated" and case["in"] == "frames":
        assert not read(vector, now=now, key=key, tls=tls)
        return
    with pytest.raises(EnvelopeRejected) as caught:
        read(vector, now=now, key=key, tls=tls)
    assert caught.value.reason == case["reason"]
