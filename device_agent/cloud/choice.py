"""Which of the verified nodes a request is sealed to."""

from collections.abc import Sequence
from random import Random

from trust.verification import VerifiedNode

__all__ = ["draw"]


def draw(
    nodes: Sequence[VerifiedNode], count: int, *, until: int, random: Random
) -> list[VerifiedNode]:
    """At most ``count`` of ``nodes``, each as likely as any other, whatever their order.

    Nodes whose keys hold ``until`` then (unix seconds) are enough where there are any: the others
    would close their port under a request that runs long.
    """
    lasting = [node for node in nodes if node.expires_at >= until] or list(nodes)
    return random.sample(lasting, min(count, len(lasting)))
