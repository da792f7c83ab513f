"""Model files on disk: which files make a model, and what is in them.

Trusts nothing: every length, offset and type is checked against the file before it is used.
Refuses pickles (they run code when read), damaged files and files that lie about their sizes.

``gguf_file`` and ``huggingface`` read headers and settings without torch, so that a process that
only tokenizes stays small. ``sources`` gives tensors and needs torch.
"""

from inference.formats.files import ModelFiles, locate

__all__ = ["ModelFiles", "locate"]
