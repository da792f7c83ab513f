"""What programs of ours read that is not theirs: for `Confinement.read`."""

import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

__all__ = ["hardware_view", "interpreter_view"]

LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
RANDOM = "/dev/urandom"
"""Read by the C++ libraries of gRPC and torch as they start."""
HARDWARE = (
    "/sys/devices/system",
    "/sys/kernel/mm/transparent_hugepage",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/swaps",
)


def interpreter_view(*packages: str) -> tuple[Path, ...]:
    """What imports read: the standard library, installed packages, shared libraries.

    ``packages`` are top-level names that may lie outside those: an editable install's. Never the
    working folder.
    """
    paths = sysconfig.get_paths()
    roots = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    roots |= {str(Path(prefix) / "lib") for prefix in (sys.prefix, sys.base_prefix)}
    found = {Path(root) for root in (*roots, *LIBRARIES, RANDOM)}
    return tuple(sorted(found | {folder for name in packages for folder in _folders(name)}))


def hardware_view() -> tuple[Path, ...]:
    """What libraries read to learn of processors and memory; nothing of other processes."""
    return tuple(Path(path) for path in HARDWARE)


def _folders(package: str) -> list[Path]:
    spec = find_spec(package)
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []
