"""Nodes, a sealed request and its header, small enough to read at a glance."""

from dataclasses import dataclass, field

import pytest

from trust.envelope import NodeKey, SealedRequest, seal_request

NOW = 1_800_000_000


@dataclass(frozen=True, kw_only=True)
class Node:
    """What sealing reads of a verified node, with the private half at hand."""

    key: NodeKey = field(default_factory=NodeKey.generate)
    tls_spki_sha256: bytes = b"t" * 32
    checkpoint_hash: bytes = b"c" * 32

    @property
    def node_id(self) -> bytes:
        return self.key.node_id

    @property
    def hpke_public_key(self) -> bytes:
        return self.key.public_key


@pytest.fixture(scope="session")
def now() -> int:
    return NOW


@pytest.fixture(scope="session")
def nodes() -> tuple[Node, ...]:
    return tuple(Node(tls_spki_sha256=bytes([index]) * 32) for index in range(3))


@pytest.fixture(scope="session")
def make_node() -> type[Node]:
    return Node


@pytest.fixture(scope="session")
def seal(nodes: tuple[Node, ...]):
    """``seal(body)``: a request to the three nodes."""

    def sealed(body: bytes = b"the question", to: tuple[Node, ...] = nodes) -> SealedRequest:
        return seal_request(
            body, to, token_hash=b"k" * 32, policy_digest=b"p" * 32, expires_at=NOW + 60
        )

    return sealed
