"""The operator's side of the trust root: keys, signed TUF metadata, publication, rotation.

`TrustRepository` writes the folder ``tuf`` of the public tree. A stolen key must not be enough to
say whom devices believe, so ``root`` and ``targets`` are signed by two of three keys, each in a
file of its own that can be carried away; ``snapshot`` and ``timestamp`` are signed where the files
are served. Refuses to sign below a threshold, and to take a version back.
"""

from cloud_node.trust_repository.keys import ROLES, TrustKeys
from cloud_node.trust_repository.repository import TrustRepository

__all__ = ["ROLES", "TrustKeys", "TrustRepository"]
