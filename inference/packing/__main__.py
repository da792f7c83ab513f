"""``python -m inference.packing SOURCE FOLDER``: pack the model at SOURCE into FOLDER, codes kept.

For the catalog, which imports no torch. Prints a line for each layer that is done: ``done of``.
"""

import sys
from pathlib import Path

from inference.packing.folder import fill_folder
from inference.packing.kept import keep_codes


def main(source: Path, folder: Path) -> None:
    fill_folder(folder, source, keep_codes(source, progress=_tell))


def _tell(done: int, of: int) -> None:
    sys.stdout.write(f"{done} {of}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
