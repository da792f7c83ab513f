"""Digests of software and model folders: the same files give the same digest wherever they lie."""

import importlib.util
from collections.abc import Iterable, Iterator
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath

from lanai.errors import EvidenceRejected, Rejection

__all__ = ["MEASURED_PACKAGES", "measure_folder", "measure_software"]

MEASURED_PACKAGES = ("lanai", "inference", "trust", "protos", "cloud_node")
"""What a node runs of ours. Its dependencies are pinned by the lock file, which is not in here."""


def measure_software(
    packages: Iterable[str] = MEASURED_PACKAGES, *, tree: Path | None = None
) -> str:
    """SHA-256 (hex) over the ``*.py`` files of the installed ``packages``.

    ``tree`` is the folder they are installed in; by default this program's own are measured.
    """
    rows = []
    for name in sorted(packages):
        folder = _package_folder(name) if tree is None else _in_tree(tree, name)
        rows += [(f"{name}/{path}", digest) for path, digest in _digests(folder, ".py")]
    return _combined(rows)


def measure_folder(path: Path) -> str:
    """SHA-256 (hex) over every file below ``path``: relative names and contents, nothing else."""
    if not path.is_dir():
        raise _unmeasurable(f"{path} is no folder")
    return _combined(_digests(path, ""))


def _combined(rows: Iterable[tuple[str, str]]) -> str:
    """One line for each file, ``name NUL digest LF``, in the order of the names."""
    total = sha256()
    for name, digest in sorted(rows):
        total.update(f"{name}\0{digest}\n".encode())
    return total.hexdigest()


def _digests(folder: Path, suffix: str) -> Iterator[tuple[str, str]]:
    """Relative POSIX path and SHA-256 of each file whose name ends in ``suffix``.

    A link, to a file or a folder, could bring in what is not measured, so any is refused. Compiled
    files are skipped: the interpreter makes them, and they differ between equal installations.
    """
    try:
        for path in folder.rglob("*"):
            name = path.relative_to(folder)
            if "__pycache__" in name.parts:
                continue
            if path.is_symlink():
                raise _unmeasurable(f"{path} is a link")
            if path.is_file() and path.name.endswith(suffix):
                with path.open("rb") as file:
                    digest = file_digest(file, "sha256").hexdigest()
                yield str(PurePosixPath(name)), digest
    except OSError as error:
        raise _unmeasurable(f"cannot read {folder}: {error.strerror}") from error


def _package_folder(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise _unmeasurable(f"the package {name} is not installed as files")
    return Path(spec.origin).parent


def _in_tree(tree: Path, name: str) -> Path:
    if not (tree / name / "__init__.py").is_file():
        raise _unmeasurable(f"{tree} holds no package {name}")
    return tree / name


def _unmeasurable(message: str) -> EvidenceRejected:
    return EvidenceRejected(message, reason=Rejection.MEASUREMENT, hint="measure a whole copy")
