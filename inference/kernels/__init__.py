"""The compiled kernels: loading them, telling them about a model, running it.

The C++ below ``native/`` is compiled when the package is installed, if there is a compiler; it has
a plain C interface and knows neither Python nor torch. Without it packed models run in torch.

Trusts the structures it is given: whoever builds a plan has checked every size against the file.
"""

from inference.kernels.binding import Kernels, load_kernels

__all__ = ["Kernels", "load_kernels"]
