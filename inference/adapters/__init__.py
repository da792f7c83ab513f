"""Low-rank adapters (Hu et al. 2021): reading, checking, writing and keeping them. No torch.

Trusts nothing in an adapter's folder: sizes, types, shapes and every number are checked before
anything runs with it. Refuses pickles.
"""

from inference.adapters.names import check_name

__all__ = ["check_name"]
