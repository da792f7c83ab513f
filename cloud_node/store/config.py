"""The embedded store's configuration file."""

from pydantic import Field, model_validator

from cloud_node.service import ServiceConfig
from cloud_node.store.roles import Role

__all__ = ["StoreConfig"]


class StoreConfig(ServiceConfig):
    """``passwords`` needs one entry for each role."""

    folder: str
    """Where the server keeps its ACL file and its log; made if absent."""
    socket: str
    """Path of the socket file, at most 107 bytes."""
    shared: bool = False
    """Whether the socket is open to the group of the server's user, too."""
    passwords: dict[Role, str] = Field(repr=False)

    @model_validator(mode="after")
    def _a_password_for_every_role(self) -> "StoreConfig":
        if self.passwords.keys() != set(Role):
            raise ValueError("passwords needs one entry for each role")
        return self
