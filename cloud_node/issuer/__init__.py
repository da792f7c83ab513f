"""The issuer: knows accounts and how many tokens each took today. It never sees a token spent.

Trusts its own key folder and its own account book. Refuses unknown accounts, spent quotas, keys out
of their window and batches over the limit. A signature leaves only after the book that counts it is
on disk.

``python -m cloud_node.issuer --config FILE.json``
"""

from cloud_node.issuer.accounts import AccountBook
from cloud_node.issuer.keys import IssuerKeys
from cloud_node.issuer.service import IssuerConfig, IssuerService

__all__ = ["AccountBook", "IssuerConfig", "IssuerKeys", "IssuerService"]
