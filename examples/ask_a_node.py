"""Ask one node directly, over its own port: what `lanai cloud node --inspect --json` printed.

python examples/ask_a_node.py inspected.json "What is the capital of Australia?"

The node is verified first, under the trust root that `--inspect` wrote for it, which accepts its
evidence and nobody else's. Then as always: sealed to the node's key, to its pinned certificate.
No relay and no gateway is between: the node sees this address, and no token is asked for.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from cloud_node.identity import certificate_pem, open_channel
from protos.lanai.v1alpha.envelope_pb2 import AnswerFrame, Message, RequestBody
from protos.lanai.v1alpha.node_pb2 import InferRequest
from protos.lanai.v1alpha.node_pb2_grpc import NodeStub
from trust.bundle import NodeBundle
from trust.envelope import SealedChunk, SealedRequest, seal_request
from trust.root import TrustRoot
from trust.verification import NodeVerifier

NO_TOKEN = bytes(32)


def sealed_to(bundle: NodeBundle, root: TrustRoot, question: str) -> tuple[bytes, SealedRequest]:
    """The certificate to pin, and the request that only this node can open."""
    node = NodeVerifier(root).verify(bundle)
    body = RequestBody(messages=[Message(role="user", text=question)], max_tokens=80, top_p=1.0)
    request = seal_request(
        body.SerializeToString(),
        [node],
        token_hash=NO_TOKEN,
        policy_digest=root.policy_digest,
        expires_at=int(time.time()) + 60,
    )
    return node.tls_certificate, request


async def frames(request: SealedRequest) -> AsyncIterator[InferRequest]:
    yield InferRequest(header=request.header.to_proto())
    for chunk in request.chunks:
        yield InferRequest(chunk=chunk.to_proto())


async def ask(address: str, certificate: bytes, request: SealedRequest) -> None:
    async with open_channel(address, certificate_pem(certificate)) as channel:
        async for response in NodeStub(channel).Infer(frames(request)):
            if response.WhichOneof("frame") == "server_nonce":
                request.opener.start(response.server_nonce)
                continue
            chunk = SealedChunk(data=response.chunk.data, last=response.chunk.last)
            if (message := request.opener.open(chunk)) is not None:
                show(AnswerFrame.FromString(message))


def show(frame: AnswerFrame) -> None:
    match frame.WhichOneof("kind"):
        case "text":
            print(frame.text, end="", flush=True)
        case "final":
            print(f"\n{frame.final.output_tokens} tokens of {frame.final.model}")
        case "failure":
            raise SystemExit(f"the node says: {frame.failure}")


def main(printed: Path, question: str) -> None:
    inspected = json.loads(printed.read_text())
    bundle = NodeBundle.parse(Path(inspected["bundle"]).read_bytes())
    root = TrustRoot.from_json(Path(inspected["unsafe_trust_root"]).read_text())
    certificate, request = sealed_to(bundle, root, question)
    asyncio.run(ask(inspected["address"], certificate, request))


if __name__ == "__main__":
    main(Path(sys.argv[1]), " ".join(sys.argv[2:]) or "What is the capital of Australia?")
