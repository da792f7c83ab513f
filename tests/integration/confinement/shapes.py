"""Processes in the shapes of a node's pieces: confined, really working, then attacking.

    python shapes.py SHAPE confined|free TARGETS

Each prints one line of JSON: what is missing, whether its work went well, what its attempts did.
What it loads before and after confining itself is what the piece of that shape does.
"""

import asyncio
import dataclasses
import json
import os
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from attempts import Targets, tried

from lanai.confinement import SWAPS, Confinement, confine, hardware_view, interpreter_view

PACKAGES = ("lanai", "inference", "trust", "protos", "cloud_node")


class Confine(Protocol):
    def __call__(self, confinement: Confinement, *, keep: Sequence[int] = (0, 1, 2)) -> None: ...


def front(targets: Targets, confined: Confine) -> bool:
    """gRPC answers on loopback, and speaks to one port beside. Imports after confining."""
    view = (*interpreter_view(*PACKAGES), *hardware_view(), Path(targets.view))
    ports = frozenset({targets.allowed_port})
    confined(Confinement(read=view, sockets=True, tcp_bind=True, tcp_connect=ports))
    import grpc.aio

    async def answer(request: bytes, _: object) -> bytes:
        return request[::-1]

    async def serve() -> bool:
        _, writer = await asyncio.open_connection("127.0.0.1", targets.allowed_port)
        writer.close()
        server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(answer)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("shape", {"Reverse": handler}),)
        )
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(port, flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await server.stop(0)
        return True

    return asyncio.run(serve())


def keyholder(targets: Targets, confined: Confine) -> bool:
    """X-Wing keys are made and opened; no socket, no file but the libraries'."""
    confined(Confinement(read=(*interpreter_view(*PACKAGES), Path(targets.view))))
    import tpm2_pytss

    from trust.envelope.keys import NodeKey

    key = NodeKey.generate()
    digest = tpm2_pytss.TPM2B_DIGEST(b"x" * 32)
    return len(key.public_key) == 1216 and bytes(digest) == b"x" * 32


def zygote(targets: Targets, confined: Confine) -> bool:
    """A text model is warm; one fork for each request, which confines itself further."""
    from inference.text import load_text_model

    text = load_text_model(Path(targets.view) / "model")
    view = (SWAPS, Path(targets.view))
    confined(Confinement(read=view, fork=True, threads=False), keep=(1, 2))
    return all(_worker_answers(lambda: len(text.encode("a prompt")) > 0) for _ in range(3))


def worker(targets: Targets, confined: Confine) -> bool:
    """Nothing at all: no file, no fork, no thread. What it holds is enough to work."""
    from inference.text import load_text_model

    text = load_text_model(Path(targets.view) / "model")
    confined(Confinement(threads=False))
    ours, theirs = socket.socketpair()
    theirs.sendall(len(text.encode("a prompt")).to_bytes(4, "big"))
    return int.from_bytes(ours.recv(4), "big") > 0


def engine(targets: Targets, confined: Confine) -> bool:
    """torch with OpenMP's threads, kernels with their own; loads a model, and runs a step."""
    os.environ |= {"OMP_NUM_THREADS": "2", "SECRET": "x"}
    stays = frozenset({"OMP_NUM_THREADS"})
    view = (*interpreter_view(*PACKAGES), *hardware_view(), Path(targets.view))
    confined(Confinement(read=view, environment=stays))
    import torch

    from inference.decoder import load_decoder

    torch.set_num_threads(2)
    square = torch.ones(512, 512)
    decoder = load_decoder(Path(targets.view) / "model", context_tokens=64)
    with torch.inference_mode():
        out = decoder.forward(torch.tensor([1, 2, 3]), decoder.new_cache(8))
        summed = float((square @ square).sum())
    packed = load_decoder(Path(targets.view) / "packed", context_tokens=64)
    with torch.inference_mode():
        step = packed.forward(torch.tensor([1, 2, 3]), packed.new_cache(8))
    finite = bool(torch.isfinite(out.logits).all() and torch.isfinite(step.logits).all())
    return finite and summed == 512.0**3


SHAPES = {shape.__name__: shape for shape in (front, keyholder, zygote, worker, engine)}


def _worker_answers(work: Callable[[], bool]) -> bool:
    """A forked child that keeps one end of a pair, confines itself, works, and is gone."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        granted = confine(Confinement(threads=False), keep=[theirs.fileno()])
        theirs.sendall(b"held" if work() and not granted.missing else b"lost")
        os._exit(0)
    os.waitpid(child, 0)
    return ours.recv(4) == b"held"


def main(shape: str, how: str, targets: Targets) -> None:
    missing: list[str] = []

    def confined(confinement: Confinement, *, keep: Sequence[int] = (0, 1, 2)) -> None:
        if how == "confined":
            missing.extend(sorted(confine(confinement, keep=keep).missing))

    worked = SHAPES[shape](targets, confined)
    report = {"missing": missing, "worked": worked, "environment": sorted(os.environ)}
    print(json.dumps(report | {"tried": tried(targets)}), flush=True)
    os._exit(0)


if __name__ == "__main__":
    given = json.loads(sys.argv[3])
    main(
        sys.argv[1],
        sys.argv[2],
        Targets(**{f.name: given[f.name] for f in dataclasses.fields(Targets)}),
    )
