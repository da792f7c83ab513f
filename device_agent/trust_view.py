"""The trust root in words: for ``lanai trust show`` and its ``--json``."""

import json
import time
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from lanai.errors import TrustRootRejected
from trust.root import Profile, TrustRoot
from trust.updates import TrustState

__all__ = ["described", "lines"]

ROLES: Final = ("root", "targets", "snapshot", "timestamp")


def described(state: TrustState, *, profile: Profile | None) -> dict[str, Any]:
    """JSON values. ``usable`` is whether a request could be sent under it now."""
    root = state.trust_root
    reason = _refusal(state, root, profile)
    return {
        "usable": reason is None,
        "reasons": [] if reason is None else [reason],
        "expires_at": state.expires_at,
        "checked_at": state.checked_at,
        "pinned_sha256": sha256(state.pinned).hexdigest(),
        "metadata": {name: found for name in ROLES if (found := _metadata(state, name))},
        "keys": _keys(state),
        "profile": root.profile if root else None,
        "policy_digest": root.policy_digest.hex() if root else None,
        "trust_root": json.loads(root.to_json()) if root else None,
    }


def lines(values: Mapping[str, Any]) -> Iterator[str]:
    """The same for people."""
    yield f"trust root  {'usable' if values['usable'] else 'refused: ' + values['reasons'][0]}"
    yield f"expires     {_when(values['expires_at'])}, checked {_when(values['checked_at'])}"
    yield f"pinned      {values['pinned_sha256']}"
    for role, found in values["metadata"].items():
        signers = values["keys"].get(role, {})
        keys = f"{signers.get('threshold', '?')} of {len(signers.get('ids', []))} keys"
        yield f"{role:<10}  version {found['version']}, {keys}, until {_when(found['expires_at'])}"
    root = values["trust_root"]
    if root is None:
        return
    yield f"profile     {root['profile']}"
    for party in ("relay", "issuer"):
        yield f"{party:<10}  {root[party]['address']}"
    quorum = f"{root['quorum']} of {len(root['witnesses'])} witnesses"
    yield f"log         {root['log_origin']}, {quorum}"
    yield "evidence"
    yield from _policy(root["evidence"], "  ")


def _policy(value: Mapping[str, Any], indent: str) -> Iterator[str]:
    """The policy as a tree."""
    for word in ("all_of", "any_of"):
        if word in value:
            yield f"{indent}{word.replace('_', ' ')}"
            for inner in value[word]:
                yield from _policy(inner, indent + "  ")
    if "kind" in value:
        yield f"{indent}{value['kind']}"
        for name, parameter in sorted(value.items()):
            if name != "kind":
                yield f"{indent}  {name}: {_short(parameter)}"


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 72 else f"{text[:60]}… ({len(text)} characters)"


def _metadata(state: TrustState, role: str) -> dict[str, int] | None:
    """Version and expiry; what is stored was verified before it was."""
    data: bytes | None = getattr(state, role)
    if data is None:
        return None
    signed = json.loads(data)["signed"]
    expires = datetime.strptime(signed["expires"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return {"version": signed["version"], "expires_at": int(expires.timestamp())}


def _keys(state: TrustState) -> dict[str, Any]:
    roles = json.loads(state.root)["signed"]["roles"]
    return {
        name: {"threshold": roles[name]["threshold"], "ids": roles[name]["keyids"]}
        for name in ROLES
    }


def _refusal(state: TrustState, root: TrustRoot | None, profile: Profile | None) -> str | None:
    try:
        state.require_fresh(time.time())
        if root is not None:
            root.admit(profile)
    except TrustRootRejected as error:
        return error.reason.value
    return None


def _when(seconds: int) -> str:
    if not seconds:
        return "never"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
