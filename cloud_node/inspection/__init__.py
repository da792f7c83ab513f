"""A node of one's own: the software of a release, measured and run on a researcher's machine.

Trusts the trust root it is given. Refuses to run what the root's log does not name, and changes
nothing for anybody else: the log is only read, the store ends with the run and is nobody else's,
and the evidence is signed by a key made for it, so that no device of the root seals to this node.
"""

from cloud_node.inspection.comparison import Comparison, MeasuredHere, compare
from cloud_node.inspection.log_copy import LogCopy
from cloud_node.inspection.running import EVENTS, InspectedNode, open_inspection

__all__ = [
    "EVENTS",
    "Comparison",
    "InspectedNode",
    "LogCopy",
    "MeasuredHere",
    "compare",
    "open_inspection",
]
