"""Where a cloud service listens."""

from collections.abc import Callable
from pathlib import Path

from grpc import aio
from pydantic import Field

from cloud_node.identity import server_credentials
from cloud_node.keyfiles import read_identity
from cloud_node.service import Service, ServiceConfig, serve_grpc

__all__ = ["ListenConfig", "serve"]


class ListenConfig(ServiceConfig):
    """Host, port (0: a free one) and the identity: ``<identity>.key`` and ``<identity>.pem``."""

    host: str = "127.0.0.1"
    port: int = Field(0, ge=0, le=65535)
    identity: Path


async def serve(
    service: Service, config: ListenConfig, register: Callable[[aio.Server], None]
) -> None:
    """Serve as ``config`` says until told to stop. Raises ``ConfigError`` on a taken port."""
    credentials = server_credentials(read_identity(config.identity))
    await serve_grpc(service, register, credentials, host=config.host, port=config.port)
