"""One whole exchange of nobody's, which a new worker runs before its request comes.

A forked process shares its parent's pages until it touches them. What a request touches is then
this process's own before a request's time is counted: the first text leaves 8 ms earlier.
"""

import os
import socket
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from cloud_node.tree.request_socket import request_pair
from cloud_node.tree.summons import Summons
from cloud_node.tree.worker import Room, work
from inference.dialogue import info_message, outcome_message
from inference.engine import EngineInfo, Finished, FinishReason, Prefilled, Token
from inference.scheduler import Outcome
from inference.text import ChatMessage, TextModel
from inference.wire import encode
from lanai.content import Content
from protos.lanai.v1alpha import envelope_pb2
from trust.envelope import NodeKey, open_request, seal_request

__all__ = ["Rehearsal"]

WORDS: Final = "Hello, is anybody there?"
LIFETIME_S: Final = 600
"""Of the envelope, when it is made. A worker does not ask: that is the keyholder's part."""


class Rehearsal:
    """Made once, before any fork: a sealed request, its secret, and what an engine says to it."""

    def __init__(self, text: TextModel, *, context_tokens: int) -> None:
        """Raises what the text model raises for an ordinary question."""
        nobody = _Nobody(key=NodeKey.generate())
        body = envelope_pb2.RequestBody(
            messages=[envelope_pb2.Message(role="user", text=WORDS)], max_tokens=1, top_p=1.0
        )
        now = time.time()
        sealed = seal_request(
            body.SerializeToString(),
            [nobody],
            token_hash=bytes(32),
            policy_digest=bytes(32),
            expires_at=int(now) + LIFETIME_S,
        )
        opened = open_request(
            sealed.header, nobody.key, tls_spki_sha256=nobody.tls_spki_sha256, now=now
        )
        self._secret = opened.to_secret()
        self._chunks = [chunk.to_proto().SerializeToString() for chunk in sealed.chunks]
        self._summons = Summons(header=sealed.header, node_id=nobody.node_id, received=0, handed=0)
        self._info = info_message(_engine(text, context_tokens)).fields
        self._said = b"".join(_frame(outcome) for outcome in _outcomes(text))

    def __call__(self, room: Room) -> bytes:
        """Run the exchange in this process; the kinds of what the worker sent (`request_socket`).

        Nothing else of it is kept.
        """
        with ExitStack() as held:
            front, request = map(held.enter_context, request_pair())
            engine, link = map(held.enter_context, socket.socketpair())
            secret, entry = os.pipe()
            for chunk in self._chunks:
                front.send(chunk)
            engine.sendall(self._said)
            with os.fdopen(entry, "wb") as pipe:
                pipe.write(self._secret)
            message = {**self._summons.to_message(), "engine": self._info}
            work(room, message, [request.detach(), secret, link.detach()])
            return b"".join(iter(lambda: front.recv(1), b""))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Nobody:
    """A recipient that no device ever hears of."""

    key: NodeKey
    tls_spki_sha256: bytes = bytes(32)
    checkpoint_hash: bytes = bytes(32)

    @property
    def node_id(self) -> bytes:
        return self.key.node_id

    @property
    def hpke_public_key(self) -> bytes:
        return self.key.public_key


def _engine(text: TextModel, context_tokens: int) -> EngineInfo:
    return EngineInfo(
        architecture="rehearsal",
        vocabulary=text.vocabulary,
        width=0,
        context_tokens=context_tokens,
        weights_sha256="",
        device="cpu",
    )


def _outcomes(text: TextModel) -> tuple[Outcome, ...]:
    """A prefill, one word, the end."""
    ids = text.render((ChatMessage(role="user", text=Content(WORDS)),))
    return (
        Prefilled(input_tokens=len(ids), queue_s=0.0, prefill_s=0.0),
        Token(id=text.encode(WORDS)[0]),
        Finished(reason=FinishReason.LENGTH, output_tokens=1, decode_s=0.0),
    )


def _frame(outcome: Outcome) -> bytes:
    # A link numbers its requests; this is its first.
    return bytes(encode(outcome_message("1", outcome)))
