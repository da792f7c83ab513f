"""Models of the Hugging Face hub by ``organization/name``: settings, tokenizer and safetensors."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any, Final

from lanai.errors import ModelError, ModelNotFound

__all__ = ["KEPT", "HubDownload", "HubModel", "is_kept"]

KEPT: Final = (
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.json",
    "merges.txt",
    "*.safetensors",
    "*.safetensors.index.json",
    "LICENSE*",
    "NOTICE*",
    "README.md",
)
"""What a model needs. Everything else, pickles before all, stays where it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HubModel:
    """A repository at one commit. ``bytes``: of the files that would come."""

    repository: str
    commit: str
    bytes: int


class HubDownload:
    """The hub, or another endpoint that speaks its protocol."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def look(self, repository: str) -> HubModel:
        """What is there now. Raises ``ModelNotFound`` or ``ModelError``."""
        from huggingface_hub import HfApi

        with _hub_errors(repository):
            info = HfApi(endpoint=self._endpoint).model_info(repository, files_metadata=True)
        files = [file for file in info.siblings or () if is_kept(file.rfilename)]
        if info.sha is None or not files:
            raise ModelNotFound(f"the hub's {repository} holds no model")
        size = sum(file.size or 0 for file in files)
        return HubModel(repository=repository, commit=info.sha, bytes=size)

    def fetch(self, model: HubModel, folder: Path) -> None:
        """Put the kept files of that commit into ``folder``."""
        from huggingface_hub import snapshot_download

        with _hub_errors(model.repository):
            snapshot_download(
                model.repository,
                revision=model.commit,
                local_dir=folder,
                allow_patterns=list(KEPT),
                endpoint=self._endpoint,
                tqdm_class=_quiet_bars(),
            )
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own bookkeeping


def is_kept(name: str) -> bool:
    """Whether a file of this name belongs to an installed model."""
    return any(fnmatch(name, pattern) for pattern in KEPT)


@contextlib.contextmanager
def _hub_errors(repository: str) -> Iterator[None]:
    """The client is imported when it is used: it is large, and most pulls do without."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise ModelNotFound(
            f"the hub has no model {repository}, or it is private or gated",
            hint="check the name; `hf auth login` for a gated model",
        ) from error
    except errors.HFValidationError as error:
        raise ModelNotFound(f"{repository} is no name of a hub model") from error
    except (_transport_error(), OSError) as error:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise ModelError(
            f"the hub did not give {repository}", hint="check the network; HF_ENDPOINT names it"
        ) from error


def _transport_error() -> type[Exception]:
    """Root of what the client's HTTP library raises; which library that is differs by release."""
    from huggingface_hub.errors import HfHubHTTPError

    root: type[Exception] = HfHubHTTPError.__bases__[0]
    return root


def _quiet_bars() -> Any:
    """A progress bar class that shows nothing: progress is told by whoever called."""
    bars: Any = import_module("tqdm.auto").tqdm

    class Quiet(bars):  # type: ignore[misc]  # it ships no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            kwargs.pop("name", None)  # of the hub's own bars
            super().__init__(*args, **{**kwargs, "disable": True})

    return Quiet
