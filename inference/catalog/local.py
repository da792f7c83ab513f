"""Models that lie on this machine already: a ``.gguf`` file or a Hugging Face folder, copied."""

from pathlib import Path

from inference.catalog.copying import write_hashed
from inference.catalog.hub import is_kept
from inference.catalog.progress import Progress
from lanai.errors import ModelFormatError, ModelNotFound

__all__ = ["copy_local", "local_files"]


def local_files(path: Path) -> tuple[Path, ...]:
    """The files a copy would take. Raises ``ModelNotFound`` or ``ModelFormatError``."""
    if path.suffix == ".gguf" and path.is_file():
        files: tuple[Path, ...] = (path,)
    elif (path / "config.json").is_file():
        files = tuple(sorted(p for p in path.iterdir() if is_kept(p.name)))
    else:
        raise ModelNotFound(
            f"{path} is neither a .gguf file nor a folder with config.json",
            hint="give a .gguf file, a Hugging Face folder, or a name of `lanai models list`",
        )
    for file in files:
        if file.is_symlink() or not file.is_file():
            raise ModelFormatError(
                f"{file} is not a regular file", hint="copy the model without symbolic links"
            )
    return files


def copy_local(files: tuple[Path, ...], folder: Path, progress: Progress) -> None:
    """Copy ``files`` into ``folder``; the originals may then change or go."""
    for file in files:
        with file.open("rb") as opened:
            write_hashed(
                [opened],
                folder / file.name,
                limit=file.stat().st_size,
                step="copy",
                progress=progress,
            )
