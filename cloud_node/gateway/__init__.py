"""The gateway: spends the token, picks a verified node, proxies frames it cannot read.

Trusts the trust root it was given, and what it verified itself. The store is asked for availability
and never believed about a node; Ray is not known here: no import, no token, no address.
Refuses bad and spent tokens, whatever is over its bounds, and nodes that do not verify; with the
store gone it refuses every request, since nothing could be spent.

``python -m cloud_node.gateway --config FILE.json``
"""

from cloud_node.gateway.announcements import Announced, AnnouncementVerifier
from cloud_node.gateway.process import GatewayConfig
from cloud_node.gateway.roster import Roster

__all__ = ["Announced", "AnnouncementVerifier", "GatewayConfig", "Roster"]
