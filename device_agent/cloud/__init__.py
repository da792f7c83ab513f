"""The way to the cloud: verify nodes, spend a token, seal, send through the relay, open the answer.

Trusts the enrolled trust root and what `trust` verifies under it. Everything that comes through
the relay is outside data. Refuses to seal to a node it has not verified, and to call half an answer
whole.

`UpdatingCloud` is the door: a `CloudClient` under the newest trust root. grpc is loaded when a
connection is first made, not before.
"""

from device_agent.cloud.account import Account
from device_agent.cloud.checkpoints import CheckpointStore
from device_agent.cloud.client import CloudClient
from device_agent.cloud.request import CloudRequest
from device_agent.cloud.stream import CloudStream
from device_agent.cloud.transport import IssuerTransport, Transport
from device_agent.cloud.updating import UpdatingCloud
from device_agent.cloud.values import CloudFinal, CloudStatus, Disclosure, Receipt, Timing
from device_agent.cloud.wallet import Wallet

__all__ = [
    "Account",
    "CheckpointStore",
    "CloudClient",
    "CloudFinal",
    "CloudRequest",
    "CloudStatus",
    "CloudStream",
    "Disclosure",
    "IssuerTransport",
    "Receipt",
    "Timing",
    "Transport",
    "UpdatingCloud",
    "Wallet",
]
