"""Opens a TPM where it is; the library for it is imported here, when it is needed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lanai.errors import ConfigError

if TYPE_CHECKING:
    from cloud_node.tpm.device import Tpm

__all__ = ["TpmAddress", "tpm_library_present"]

_LIBRARY = "tpm2_pytss"


@dataclass(frozen=True, slots=True, kw_only=True)
class TpmAddress:
    """A device's path, or the socket of a software TPM."""

    path: str
    unsafe_swtpm: bool

    @contextmanager
    def open(self) -> Iterator["Tpm"]:
        """The TPM, for this caller alone until the end of the block.

        Raises ``ConfigError`` without the library, ``CloudUnavailable`` when the TPM fails.
        """
        # The library writes to standard error, which is for events; read when it loads.
        os.environ.setdefault("TSS2_LOG", "all+NONE")
        try:
            from cloud_node.tpm import device
        except ImportError as error:
            raise ConfigError(
                f"a TPM is configured, and its library does not load: {error.name or _LIBRARY}",
                hint="apt-get install libtss2-dev libtss2-tcti-device0; pip install 'lanai[tpm]'",
            ) from error
        with device.opened(self.path, unsafe_swtpm=self.unsafe_swtpm) as tpm:
            yield tpm


def tpm_library_present() -> bool:
    """Whether the library is installed; it is not imported for that."""
    return find_spec(_LIBRARY) is not None
