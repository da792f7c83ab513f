"""Times what trust adds to a request, in one process and without a network.

    lanai bench trust [--runs 300] [--json]

Median µs of each step, over an 8 KiB body and three nodes.
"""

import os
import statistics
import time
from collections.abc import Callable

import click

from lanai.cli.output import emit_json, json_option
from trust.envelope import NodeKey, open_request, seal_request
from trust.ohttp import EXCHANGE, GatewayKey, GatewayKeys, RequestSealer
from trust.testing import UnsafeTrustWorld
from trust.tokens import TokenIssuer, TokenVerifier, begin

BODY = os.urandom(8192)
CHALLENGE = b"bench"


@click.command()
@click.option("--runs", default=300, show_default=True)
@json_option
def trust(runs: int, as_json: bool) -> None:
    """Each step of trust: verify a node, seal, open, a frame, a token, the outer seal."""
    now = int(time.time())
    world = UnsafeTrustWorld(now=now)
    keys = [NodeKey.generate() for _ in range(3)]
    bundles = [world.bundle(key.public_key) for key in keys]
    verifier = world.verifier()
    nodes = [verifier.verify(bundle) for bundle in bundles]

    def seal(count: int) -> Callable[[], object]:
        return lambda: seal_request(
            BODY,
            nodes[:count],
            token_hash=bytes(32),
            policy_digest=bytes(32),
            expires_at=now + 60,
        )

    sealed = seal_request(
        BODY, nodes, token_hash=bytes(32), policy_digest=bytes(32), expires_at=now + 60
    )

    def opened() -> object:
        spki = nodes[0].tls_spki_sha256
        return open_request(sealed.header, keys[0], tls_spki_sha256=spki, now=now).body(
            sealed.chunks
        )

    answer = open_request(
        sealed.header, keys[0], tls_spki_sha256=nodes[0].tls_spki_sha256, now=now
    ).answer()
    sealed.opener.start(answer.server_nonce)
    frames = iter([answer.seal(b"a token")[0] for _ in range(runs + 1)])
    issuer = TokenIssuer.generate()
    pending = begin(issuer.spki, CHALLENGE, 1)
    [token] = pending.finish([issuer.sign(blinded) for blinded in pending.blinded])
    digest = sealed.header.digest()
    signature = token.sign(digest)
    spend = TokenVerifier(issuer.spki, CHALLENGE)

    key = GatewayKey.generate()
    outer = RequestSealer(key.configuration, media=EXCHANGE)
    first = outer.seal(BODY)
    opener, _ = GatewayKeys([key]).open(first, media=EXCHANGE)
    sealer, reader = opener.response(), outer.response()
    frame = os.urandom(280)
    pieces = iter([sealer.seal(frame) for _ in range(runs + 1)])
    result = {
        "verify_node_cached_log": _median(lambda: verifier.verify(bundles[0]), runs),
        "seal_8k_to_1": _median(seal(1), runs),
        "seal_8k_to_3": _median(seal(3), runs),
        "open_8k": _median(opened, runs),
        "answer_frame_seal": _median(lambda: answer.seal(b"a token"), runs),
        "answer_frame_open": _median(lambda: sealed.opener.open(next(frames)), runs),
        "token_spend_check": _median(
            lambda: spend.verify(
                token.bytes,
                holder_key=token.holder_key,
                holder_signature=signature,
                envelope_digest=digest,
            ),
            runs,
        ),
        "outer_seal_begin": _median(
            lambda: RequestSealer(key.configuration, media=EXCHANGE).seal(BODY), runs
        ),
        "outer_open_begin": _median(lambda: GatewayKeys([key]).open(first, media=EXCHANGE), runs),
        "outer_frame_seal": _median(lambda: sealer.seal(frame), runs),
        "outer_frame_open": _median(lambda: reader.open(next(pieces)), runs),
    }
    if as_json:
        emit_json({"unit": "us", **result})
        return
    for name, microseconds in result.items():
        click.echo(f"{name:<24}{microseconds:>10.1f} µs")


def _median(step: Callable[[], object], runs: int) -> float:
    step()
    times = []
    for _ in range(runs):
        began = time.perf_counter_ns()
        step()
        times.append(time.perf_counter_ns() - began)
    return round(statistics.median(times) / 1000, 1)


if __name__ == "__main__":
    trust()
