"""``python -m inference.packing SOURCE FOLDER``: pack the model at SOURCE into FOLDER, codes kept.

For the catalog, which imports no torch. Prints a line for each layer that is done: ``done of``; or
last, with exit code 1, ``failed`` and a word of ``PackingFailure``.
"""

import errno
import sys
from pathlib import Path

from inference.catalog.kept import PackingFailure
from inference.packing.folder import fill_folder
from inference.packing.kept import keep_codes


def main(source: Path, folder: Path) -> int:
    try:
        fill_folder(folder, source, keep_codes(source, progress=_tell))
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
