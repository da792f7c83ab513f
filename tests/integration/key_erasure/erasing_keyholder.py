"""A keyholder of a test: told its seed and its requests on standard input, it says when done.

    lines in:  seed (hex), spki (hex), then headers (hex, serialized), then `drop`, then the end
    lines out: `ok` after each

With `plain` as its argument freed memory is left as it is.
"""

import sys

from cloud_node.tree.keyholder import Keyholder
from lanai.erasure import overwrite_freed_memory
from protos.lanai.v1alpha import envelope_pb2
from trust.envelope import EnvelopeHeader, NodeKey

FAR = 1 << 40


def said(answer: str) -> None:
    print(answer, flush=True)


def main() -> None:
    if sys.argv[1] != "plain" and not overwrite_freed_memory():
        sys.exit("freed memory is not overwritten here")
    # Read and decoded in one expression: nothing here may hold what a real keyholder never sees.
    keyholder = Keyholder(())
    key = NodeKey(bytes.fromhex(sys.stdin.readline()))
    node_id = key.node_id
    keyholder.hold(key, bytes.fromhex(sys.stdin.readline()), expires_at=FAR)
    del key
    said("ok")
    while (line := sys.stdin.readline().strip()) != "drop":
        header = envelope_pb2.EnvelopeHeader.FromString(bytes.fromhex(line))
        keyholder.admit(EnvelopeHeader.from_proto(header), node_id).to_secret()
        said("ok")
    keyholder.drop(node_id)
    said("ok")
    sys.stdin.readline()


main()
