"""The shared store: spent tokens, burned request ids, announcements. Nothing derived from content.

It is needed for availability and for at-most-once among honest parties; nobody trusts what it says
about integrity. It holds hashes, random ids and signed public announcements, each with an expiry.

Trusts the server's `SET NX` and its ACL. Refuses plain TCP beyond loopback, TLS older than 1.3 and
values that are not exactly as long as the hashes they claim to be. A failing store is an error to
its caller, never an assumed "not seen before".
"""

from cloud_node.store.memory import MemoryStore
from cloud_node.store.protocol import Store
from cloud_node.store.redis_store import RedisStore, open_store

__all__ = ["MemoryStore", "RedisStore", "Store", "open_store"]
