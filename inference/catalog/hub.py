"""Models of the Hugging Face hub by ``organization/name``: settings, tokenizer and safetensors."""

import shutil
from pathlib import Path
from typing import Any, Final

from lanai.errors import ModelError, ModelNotFound

__all__ = ["KEPT", "HubDownload"]

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


class HubDownload:
    """The hub, or another endpoint that speaks its protocol."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def size(self, repository: str) -> int:
        """Bytes that ``fetch`` would bring. Raises ``ModelNotFound`` or ``ModelError``."""
        files = self._snapshot(repository, dry_run=True)
        return sum(file.file_size for file in files)

    def fetch(self, repository: str, folder: Path) -> None:
        """Put the repository's kept files into ``folder``."""
        self._snapshot(repository, local_dir=folder)
        shutil.rmtree(folder / ".cache", ignore_errors=True)  # the client's own bookkeeping

    def _snapshot(self, repository: str, **options: Any) -> Any:
        # Imported here: the hub's client is large, and most pulls do not need it.
        from huggingface_hub import errors, snapshot_download

        try:
            return snapshot_download(
                repository,
                allow_patterns=list(KEPT),
                endpoint=self._endpoint,
                tqdm_class=_quiet_bars(),
                **options,
            )
        except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
            raise ModelNotFound(
                f"the hub has no model {repository}, or it is private or gated",
                hint="check the name; `hf auth login` for a gated model",
            ) from error
        except errors.HFValidationError as error:
            raise ModelNotFound(f"{repository} is no name of a hub model") from error
        except (_transport_error(), errors.LocalEntryNotFoundError) as error:
            raise ModelError(
                f"the hub did not give {repository}", hint="check the network; HF_ENDPOINT names it"
            ) from error


def _transport_error() -> type[Exception]:
    """Root of what the client's HTTP library raises; which library that is differs by release."""
    from huggingface_hub.errors import HfHubHTTPError

    root: type[Exception] = HfHubHTTPError.__bases__[0]
    return root


def _quiet_bars() -> Any:
    """Its progress bar class, never shown: progress is told by whoever called."""
    import huggingface_hub.utils

    bars: Any = vars(huggingface_hub.utils)["tqdm"]

    class Quiet(bars):  # type: ignore[misc]  # it ships no types
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **{**kwargs, "disable": True})

    return Quiet
