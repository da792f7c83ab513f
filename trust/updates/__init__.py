"""How a device's trust root changes: TUF metadata, signed by thresholds of keys that rotate.

A device is enrolled once, with root metadata that it pins. From then on `TrustRootStore.update`
follows the client workflow of the TUF specification (1.0.34, section 5) over any `FileSource`, and
the newest verified target ``trust-root.json`` is the trust root.

Trusts the pinned root metadata, its own file, and the clock. Refuses older metadata than it has
seen (``rollback``), metadata that has expired (``freeze``), too few signatures (``signature``),
pieces that do not belong together (``mismatch``), and a trust root of another profile than the
enrolled one. An expired trust root is no trust root: nothing is sent under it.

Importing this is light; the ``tuf`` package is loaded by the first enrolment or update.
"""

from trust.updates.source import FileSource, FolderSource
from trust.updates.state import TrustState
from trust.updates.store import TrustRootStore

__all__ = ["FileSource", "FolderSource", "TrustRootStore", "TrustState"]
