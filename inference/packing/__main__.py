"""``python -m inference.packing SOURCE FOLDER [DELTA]``: pack the model at SOURCE into FOLDER.

As DELTA says; without one codes are kept. For the catalog, which imports no torch. Prints a line
for each layer that is done: ``done of``; or last, with exit code 1, ``failed`` and a word of
``PackingFailure``.
"""

import errno
import sys
from pathlib import Path

from inference.catalog.packed_recipe import PackingFailure
from inference.deltas.delta_file import Delta
from inference.deltas.restoring import fill_restored
from inference.packing.folder import fill_folder
from inference.packing.kept import keep_codes


def main(source: Path, folder: Path, delta: Path | None = None) -> int:
    try:
        if delta is None:
            fill_folder(folder, source, keep_codes(source, progress=_tell))
        else:
            fill_restored(folder, source, Delta.open(delta), progress=_tell)
    except (OSError, MemoryError, RuntimeError) as error:
        _say(f"failed {_failure(error)}")
        return 1
    return 0


def _failure(error: Exception) -> PackingFailure:
    match error:
        case OSError(errno=errno.ENOSPC | errno.EDQUOT):
            return PackingFailure.DISK_FULL
        case MemoryError():
            return PackingFailure.NO_MEMORY
        # torch's allocator has no type of its own for it.
        case RuntimeError() if "can't allocate memory" in str(error):
            return PackingFailure.NO_MEMORY
    return PackingFailure.INTERNAL


def _tell(done: int, of: int) -> None:
    _say(f"{done} {of}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
