"""The issuer: knows accounts and how many tokens each took today. It never sees a token spent.

Trusts its own key file and its own account book. Refuses unknown accounts, spent quotas and batches
over the limit. A signature leaves only after the book that counts it is on disk.

``python -m cloud_node.issuer --config FILE.json``
"""

from cloud_node.issuer.accounts import AccountBook
from cloud_node.issuer.service import IssuerConfig, IssuerService

__all__ = ["AccountBook", "IssuerConfig", "IssuerService"]
