"""The leaf every package may import: errors, content type, names, folders, settings, command mount.

Trusts nothing and talks to nobody: no network, no model, no cryptography.
Refuses configuration keys it does not know.
"""

__version__ = "0.1.0a1"

__all__ = ["__version__"]
