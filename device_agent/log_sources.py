"""Where a whole log can be read from: its folder of tiles, or its gRPC service."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from lanai.errors import CloudUnavailable, LogRejected, Rejection
from trust.log.files import read_file
from trust.log.tiles import read_entries, read_tree
from trust.root import Endpoint

if TYPE_CHECKING:
    import grpc

__all__ = ["FolderSource", "GrpcSource", "LogSource"]

BATCH: Final = 256
TIMEOUT_S: Final = 10.0
TLS_NAME: Final = "lanai.internal"


class LogSource(Protocol):
    """A log as its readers see it. All of it is outside data."""

    def checkpoint(self) -> bytes:
        """The newest public checkpoint, a signed note."""

    def leaves(self, size: int) -> Iterator[bytes]:
        """The first ``size`` leaves, or fewer when there are no more."""


class FolderSource:
    """A folder of tiles (c2sp.org/tlog-tiles), such as a cluster's own log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def checkpoint(self) -> bytes:
        """Raises ``CloudUnavailable`` when the folder shows no checkpoint."""
        note = read_file(self._folder / "checkpoint")
        if note is None:
            raise CloudUnavailable(
                f"{self._folder} holds no public log", hint="give the folder with `checkpoint`"
            )
        return note

    def leaves(self, size: int) -> Iterator[bytes]:
        """Raises ``LogRejected`` when tiles and entries disagree."""
        return read_entries(self._folder, read_tree(self._folder, size), 0, size)


class GrpcSource:
    """The log's service at one address, pinned to one certificate. grpc is imported on use."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    def checkpoint(self) -> bytes:
        """Raises ``CloudUnavailable``."""
        from protos.lanai.v1alpha import log_pb2, log_pb2_grpc

        with self._channel() as channel:
            request = log_pb2.CheckpointRequest()
            return log_pb2_grpc.LogStub(channel).Checkpoint(request, timeout=TIMEOUT_S).note

    def leaves(self, size: int) -> Iterator[bytes]:
        """Raises ``CloudUnavailable``, and ``LogRejected`` when more comes than was asked for."""
        from protos.lanai.v1alpha import log_pb2, log_pb2_grpc

        with self._channel() as channel:
            stub, start = log_pb2_grpc.LogStub(channel), 0
            while start < size:
                count = min(BATCH, size - start)
                request = log_pb2.EntriesRequest(start=start, count=count)
                batch = stub.Entries(request, timeout=TIMEOUT_S).leaves
                if len(batch) > count:
                    raise LogRejected("more leaves than asked for", reason=Rejection.MALFORMED)
                if not batch:
                    return
                yield from batch
                start += len(batch)

    @contextmanager
    def _channel(self) -> "Iterator[grpc.Channel]":
        import grpc

        pinned = grpc.ssl_channel_credentials(self._endpoint.certificate.encode("ascii"))
        options = (
            ("grpc.ssl_target_name_override", TLS_NAME),
            ("grpc.enable_http_proxy", 0),
            ("grpc.service_config_disable_resolution", 1),
        )
        try:
            with grpc.secure_channel(self._endpoint.address, pinned, options) as channel:
                yield channel
        except grpc.RpcError:
            # Its text is the peer's.
            raise CloudUnavailable(
                f"the log at {self._endpoint.address} did not answer",
                hint="check address and certificate",
            ) from None
