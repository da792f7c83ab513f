"""What a worker is told in the clear, on its way through keyholder and zygote."""

from dataclasses import dataclass
from typing import Any

from google.protobuf.message import DecodeError

from lanai.errors import EnvelopeRejected, Rejection
from protos.lanai.v1alpha import envelope_pb2
from trust.envelope import EnvelopeHeader

__all__ = ["Summons"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summons:
    """Times are of ``time.perf_counter``, which all processes of a host share."""

    header: EnvelopeHeader
    node_id: bytes
    received: float
    """When the header came."""
    handed: float
    """When the front passed the request on."""

    def to_message(self) -> dict[str, Any]:
        return {
            "header": self.header.to_proto().SerializeToString(),
            "node_id": self.node_id,
            "received": self.received,
            "handed": self.handed,
        }

    @classmethod
    def parse(cls, message: dict[str, Any]) -> "Summons":
        """Raises ``EnvelopeRejected`` for a malformed header."""
        try:
            header = envelope_pb2.EnvelopeHeader.FromString(message["header"])
        except DecodeError:
            raise EnvelopeRejected("not an envelope's header", reason=Rejection.MALFORMED) from None
        return cls(
            header=EnvelopeHeader.from_proto(header),
            node_id=message["node_id"],
            received=message["received"],
            handed=message["handed"],
        )
