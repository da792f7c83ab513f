"""The one-host profile is checked as far as it can be without an init system or an engine."""

import configparser
import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest
import yaml

from cloud_node.cluster.isolation import CAPABILITIES
from cloud_node.cluster.users import UidRange
from lanai.cli.mount import root

ONE_HOST = Path(__file__).resolve().parents[3] / "deploy" / "one-host"
UNITS = sorted(ONE_HOST.glob("*.service"))


def resolve(words: list[str]) -> None:
    """Fails unless the words are a command line of ``lanai`` with known options."""
    assert words[0].endswith("lanai"), words
    command: click.Command = root
    context = click.Context(command, info_name="lanai")
    rest = words[1:]
    while isinstance(command, click.Group):
        found = command.get_command(context, rest[0])
        assert found is not None, f"no such command: {rest[0]}"
        command, rest = found, rest[1:]
    command.make_context(command.name, list(rest))


def unit(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(path.read_text())
    return parser


@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.name)
def test_units_start_commands_that_exist(path: Path) -> None:
    """Every ExecStart and ExecStop is a real command line; a user of its own, or root's few rights.

    What root keeps is what `up` asks for: it gives files and processes away.
    """
    service = unit(path)["Service"]
    for key in ("ExecStart", "ExecStop"):
        if key in service:
            resolve(service[key].split())
    kept = set(service["CapabilityBoundingSet"].split())
    assert kept <= CAPABILITIES.keys()
    assert "User" not in service or not kept
    assert service["NoNewPrivileges"] == "yes"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("path", UNITS, ids=lambda p: p.name)
def test_units_verify(path: Path) -> None:
    """systemd itself knows every key; only the program's path may be missing here."""
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    complaints = [
        line
        for line in done.stderr.splitlines()
        if path.name in line and "is not executable" not in line
    ]
    assert not complaints, complaints


def test_compose_names_commands_and_volumes_that_exist() -> None:
    """The compose file parses, drops privileges, and calls real commands on declared volumes."""
    compose = yaml.safe_load((ONE_HOST / "compose.yaml").read_text())
    for service in compose["services"].values():
        assert (ONE_HOST / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
        for volume in service["volumes"]:
            assert volume.split(":")[0] in compose["volumes"]
        command = service["command"]
        if command[0] == "lanai":
            resolve(command)
        else:
            for line in re.findall(r"lanai [a-z ]+(?:--[a-z]+ [a-z]+)?", command[-1]):
                resolve(line.split())
    cloud = compose["services"]["cloud"]
    assert cloud["cap_drop"] == ["ALL"]
    assert {f"CAP_{name}" for name in cloud["cap_add"]} == CAPABILITIES.keys()
    UidRange.parse(cloud["environment"]["LANAI_CLOUD_UIDS"])
    assert cloud["read_only"] is True
    assert cloud["network_mode"] == "none"
