"""Who may do what in the store: one ACL user for each role, and almost nothing for the rest."""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Passwords", "Role", "acl_lines"]


class Role(StrEnum):
    """A party that holds credentials of the store."""

    GATEWAY = "gateway"
    NODE = "node"


# %R and %W: the right to read or to write only (Redis 7, Valkey).
RULES: Mapping[Role, str] = {
    Role.GATEWAY: "~lanai:spent:* %R~lanai:node:* ~lanai:nodes +set +mget +smembers +srem",
    Role.NODE: "~lanai:burned:* %W~lanai:node:* ~lanai:nodes +set +del +sadd +srem",
}
# What every role may say. (The client library's CLIENT SETINFO is refused, which it takes calmly:
# Redis 7.0 does not know it and would not load a rule that names it.) The default user may do no
# more than be asked whether the server lives.
HELLO = "+ping +hello"
NOTHING = "resetkeys resetchannels -@all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Passwords:
    """One random password for each role."""

    of: Mapping[Role, str] = field(repr=False)

    @classmethod
    def generate(cls) -> "Passwords":
        return cls(of={role: secrets.token_urlsafe(32) for role in Role})


def acl_lines(passwords: Passwords) -> str:
    """The text of an ACL file (Redis ``aclfile``). It holds the passwords' hashes only."""
    lines = [f"user default on nopass {NOTHING} +ping"]
    for role in Role:
        digest = hashlib.sha256(passwords.of[role].encode()).hexdigest()
        lines.append(f"user {role} on #{digest} {NOTHING} {HELLO} {RULES[role]}")
    return "\n".join(lines) + "\n"
