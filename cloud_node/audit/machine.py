"""What of this machine bears on what the search can show: swap, and where crashes are written."""

from pathlib import Path
from typing import Any, Final

__all__ = ["machine"]

SWAPS: Final = Path("/proc/swaps")
CORE_PATTERN: Final = Path("/proc/sys/kernel/core_pattern")


def machine() -> dict[str, Any]:
    """``swap_used_bytes``: pages of ended processes may be left there. ``core_pattern``."""
    used = [int(line.split()[3]) << 10 for line in SWAPS.read_text().splitlines()[1:]]
    return {"swap_used_bytes": sum(used), "core_pattern": CORE_PATTERN.read_text().strip()}
