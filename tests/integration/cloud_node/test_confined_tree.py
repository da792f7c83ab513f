"""A running node's processes have confined themselves, as the kernel sees it."""

import os
from pathlib import Path
from typing import Any

from cloud_node.launcher_client import LauncherClient

# The name conftest gives to its part, for types only.
Site = Any

NO_CAPABILITY = "0" * 16


def seen(pid: int) -> dict[str, str]:
    """What /proc says of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, value in (line.split(":", 1) for line in lines)}


def core_limit(pid: int) -> list[str]:
    (line,) = [
        line for line in Path(f"/proc/{pid}/limits").read_text().splitlines() if "core" in line
    ]
    return line.split()[4:6]


def first_environment(pid: int) -> bytes:
    """What it was started with; root alone may look."""
    return Path(f"/proc/{pid}/environ").read_bytes() if os.geteuid() == 0 else b""


async def test_every_piece_has_confined_itself(site: Site) -> None:
    """A filter, no new privileges, no capability, no core; the launcher knows what is missing."""
    config = site.launcher(1)
    path = config.write(site.folder / "launcher-01.json")
    await site.start("cloud_node.launcher", "--config", str(path))
    client = LauncherClient(socket=Path(config.socket))
    status = await client.start()
    await site.only_node()
    assert set(status.pieces) == {"front", "keyholder", "zygote", "engine"}
    assert status.missing == []
    for name, pid in status.pieces.items():
        facts = seen(pid)
        assert facts["Seccomp"] == "2", name
        assert facts["NoNewPrivs"] == "1", name
        assert facts["CapEff"] == facts["CapPrm"] == facts["CapAmb"] == NO_CAPABILITY, name
        assert facts["Umask"] == "0077", name
        assert core_limit(pid) == ["0", "0"], name
        assert b"LANG=" not in first_environment(pid), name
