"""Forms in a node's real processes: a forked, confined worker holds a real engine to them."""

import json
import time
from typing import Any

from cloud_node.testing.direct import direct_answer
from protos.lanai.v1alpha import envelope_pb2
from trust.envelope import SealedRequest, seal_request
from trust.verification import VerifiedNode

# The name conftest gives to its part, for types only.
Site = Any

SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string", "maxLength": 4}, "ok": {"type": "boolean"}},
    "required": ["word", "ok"],
    "additionalProperties": False,
}


def seal(node: VerifiedNode, **fields: Any) -> SealedRequest:
    body = envelope_pb2.RequestBody(
        messages=[envelope_pb2.Message(role="user", text="Hi")], max_tokens=120, top_p=1.0, **fields
    )
    return seal_request(
        body.SerializeToString(),
        [node],
        token_hash=b"t" * 32,
        policy_digest=b"p" * 32,
        expires_at=int(time.time()) + 60,
    )


async def answer(address: str, node: VerifiedNode, **fields: Any) -> list[Any]:
    """Opened frames of one request."""
    return [frame async for frame in direct_answer(address, node, seal(node, **fields))]


async def test_noise_is_held_to_a_form(site: Site) -> None:
    """A model of random weights answers JSON of the schema and a choice; a schema that
    cannot be enforced fails by its code, and the node goes on."""
    path = site.write(site.config)
    _, ready = await site.start("cloud_node.node", "--config", str(path))
    address, node = json.loads(ready)["address"], await site.only_node()

    frames = await answer(address, node, json_schema=json.dumps(SCHEMA))
    assert set(json.loads("".join(frame.text for frame in frames))) == {"word", "ok"}

    frames = await answer(address, node, json_schema='{"uniqueItems": true}')
    assert [frame.failure for frame in frames] == ["bad_request"]

    choices = envelope_pb2.Choices(choice=["left", "right"])
    frames = await answer(address, node, choices=choices)
    assert "".join(frame.text for frame in frames) in ("left", "right")
