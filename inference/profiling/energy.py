"""Energy of reading weights and multiplying with them, estimated from stated constants.

The constants are those of a 45 nm process at 0.9 V in Horowitz, "Computing's energy problem (and
what we can do about it)", ISSCC 2014, Fig. 1.1.9: a 64-bit access to DRAM takes 1.3 to 2.6 nJ, an
8-bit multiplication 0.2 pJ, a 32-bit integer addition 0.1 pJ. Newer processes and memories take
less of both, and other machines other shares: both constants are parameters. Caches, threads that
wait and everything that is no product with a weight are left out, so this compares allocations of
one model; it is no power meter.
"""

from dataclasses import dataclass

__all__ = ["Energy"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """``byte_pj``: of a byte from memory; ``operation_pj``: of an 8-bit multiplication added up."""

    byte_pj: float = 1300 / 8
    operation_pj: float = 0.2 + 0.1

    def of_product_uj(self, size: int, weights: int) -> float:
        """Microjoules of one row through a matrix of ``size`` bytes."""
        return (size * self.byte_pj + weights * self.operation_pj) / 1e6
