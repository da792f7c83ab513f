"""The ``lanai`` command: mounts what each installed package registers under ``lanai.commands``.

Manners: data to stdout, talk to stderr, lower case, no full stop, then a hint line.
Exit codes: 0 ok, 1 failure, 2 usage, 10 verification rejected.
"""

from lanai.cli.mount import main

__all__ = ["main"]
