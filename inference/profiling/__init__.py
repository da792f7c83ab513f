"""The profiler: what each matrix of a model costs and buys at each number of bits.

``profile`` measures (errors by rounding, latency with the real kernels), estimates (loss from
sensitivities, energy from stated constants) and allocates; ``write_page`` and ``draw`` show it.
Reads weights and a calibration text; keeps no text. Needs torch.
"""

from inference.profiling.energy import Energy
from inference.profiling.page import write_page
from inference.profiling.picture import draw
from inference.profiling.profiler import Plan, profile
from inference.profiling.records import Profile

__all__ = ["Energy", "Plan", "Profile", "draw", "profile", "write_page"]
