"""Whether a cluster's parts run as users of their own: decided at `up`, checked at each `status`.

Ray's users can run code on every member. With users of their own the kernel keeps that code from
the node's memory, files and sockets; without, nothing is claimed. What is written down is a plan;
what `status` says is what the running processes show.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from pydantic import Field

from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.plan import ClusterPlan
from cloud_node.cluster.reachability import first_barrier, software, swappable
from cloud_node.cluster.users import allot, uids_running, users_from
from cloud_node.process_user import ProcessUser
from cloud_node.service import ServiceConfig, load_config
from lanai.errors import ConfigError
from lanai.folders import private_folder

__all__ = ["CAPABILITIES", "Isolation", "decide", "observed"]

PASSABLE: Final = 0o711
CAPABILITIES: Final[Mapping[str, int]] = {
    "CAP_CHOWN": 0,
    "CAP_DAC_OVERRIDE": 1,
    "CAP_FOWNER": 3,
    "CAP_KILL": 5,
    "CAP_SETGID": 6,
    "CAP_SETUID": 7,
}
"""What root needs to give files and processes away (capabilities(7): their numbers)."""
_OWNER: Final = {"unsafe_swtpm": "tpm"}
_STATUS: Final = Path("/proc/self/status")


class Isolation(ServiceConfig):
    """A cluster's users. Without any, its processes run as whoever started it."""

    users: dict[str, ProcessUser] = Field(default_factory=dict)
    reason: str | None = None
    """Why there are none."""
    hint: str | None = None

    @classmethod
    def of(cls, layout: ClusterLayout) -> "Isolation":
        """What `up` wrote down. Raises ``ConfigError`` when that is damaged."""
        if not layout.isolation_file.exists():
            return cls(reason="it was not started by this version")
        return load_config(cls, layout.isolation_file)

    @property
    def separate(self) -> bool:
        return bool(self.users)

    def user(self, role: str) -> ProcessUser | None:
        """Whom the process ``role`` runs as: every launcher, with its tree, as ``node``."""
        owner = "node" if role.startswith(("launcher-", "node-")) else _OWNER.get(role, role)
        return self.users.get(owner)


def decide(layout: ClusterLayout, plan: ClusterPlan) -> Isolation:
    """What this `up` can have; its answer is written down by the caller.

    1. root, with what root can do where nothing was taken from it
    2. ids that exist here
    3. folders of the cluster that others may pass and nobody else can exchange
    4. software and model that others may read

    Raises ``ConfigError`` when one is missing and the profile is production.
    """
    found = _obstacle(layout, plan)
    if found is not None and plan.profile == "production":
        raise ConfigError(f"no users of their own: {found[0]}", hint=found[1])
    if found is not None:
        return Isolation(reason=found[0], hint=found[1])
    standing = Isolation.of(layout).user("ray") if layout.isolation_file.exists() else None
    first = allot(layout, plan.uids, standing=standing.uid if standing else None)
    return Isolation(users=users_from(first, layout))


def observed(layout: ClusterLayout, processes: Iterable[tuple[str, int]]) -> tuple[str, str | None]:
    """The isolation that ``processes`` (role, pid) have now, and why it is no better."""
    isolation = Isolation.of(layout)
    if not isolation.separate:
        return "same-user", "; ".join(filter(None, (isolation.reason, isolation.hint)))
    running: dict[int, set[int]] = {}
    for uid, pids in uids_running().items():
        for pid in pids:
            running.setdefault(pid, set()).add(uid)
    for role, pid in processes:
        user = isolation.user(role)
        if pid in running and (user is None or running[pid] != {user.uid}):
            return "same-user", f"{role} does not run as the user it was given"
    return "separate-users", None


def _obstacle(layout: ClusterLayout, plan: ClusterPlan) -> tuple[str, str | None] | None:
    """The first thing that is in the way, and how it can be removed."""
    # 1
    if os.geteuid() != 0:
        return "it was not started as root", None
    if missing := _missing_capabilities():
        return f"root lacks {', '.join(missing)} here", "start it with these capabilities"
    # 2
    if not plan.uids.mapped():
        return (
            f"users {plan.uids.first} to {plan.uids.last} do not exist in this namespace",
            "set cloud_uids to a range that does",
        )
    # 3
    for folder in (layout.folder, layout.runtime):
        if (at := swappable(folder)) is not None:
            return f"{at} is not root's alone", "set LANAI_HOME to a folder of root's"
    above = (layout.state.parent, layout.runtime.parent.parent)
    if barrier := first_barrier(above, passing=True):
        return barrier.reason, "set LANAI_HOME to a folder that others may pass (0711)"
    _open_passages(layout)
    # 4
    if barrier := first_barrier((*software(), plan.model_folder)):
        return barrier.reason, barrier.hint
    return None


def _open_passages(layout: ClusterLayout) -> None:
    """Let others pass through the folders that Lanai itself made: not list them, not read them."""
    outer = (layout.state, layout.folder.parent, layout.runtime.parent)
    for folder in (*outer, layout.folder, layout.runtime):
        mode = private_folder(folder).stat().st_mode & 0o777
        folder.chmod(mode | PASSABLE)


def _missing_capabilities() -> list[str]:
    for line in _STATUS.read_text(encoding="utf-8").splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return [name for name, bit in CAPABILITIES.items() if not held >> bit & 1]
    return list(CAPABILITIES)
