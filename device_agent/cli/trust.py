"""``lanai trust``: whom this device believes, since when and until when, and who may change it."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lanai.cli.group import Group
from lanai.cli.output import emit_json, json_option, say
from lanai.errors import CloudUnavailable
from lanai.folders import Folders
from lanai.settings import Settings

if TYPE_CHECKING:
    from trust.updates import TrustRootStore, TrustState

__all__ = ["trust"]


@click.group(cls=Group)
def trust() -> None:
    """Look at the trust root of this device, update it, or enrol the device with one."""


@trust.command()
@json_option
def show(as_json: bool) -> None:
    """Print the trust root, and the metadata it comes from. Touches no network."""
    _print(_state(), as_json=as_json)


@trust.command()
@click.option(
    "--from",
    "folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="a copy of the cluster's folder `tuf`, when the relay is out of reach",
)
@json_option
def update(folder: Path | None, as_json: bool) -> None:
    """Ask the cluster for a newer trust root. Exit 10 when what comes is refused."""
    from trust.updates import TrustRootStore

    store = TrustRootStore.of(Folders.standard().state)
    before = _state().target
    asyncio.run(_update(store, folder))
    say("nothing new" if _state().target == before else "the trust root is a new one")
    _print(_state(), as_json=as_json)


@trust.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--sha256", "expected", metavar="HEX", help="what the root metadata must hash to")
@click.option(
    "--account",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="the account at the cluster's issuer, as its operator gave it",
)
@click.option("--replace", is_flag=True, help="give up the enrolment there is")
@json_option
def enrol(
    path: Path, expected: str | None, account: Path | None, replace: bool, as_json: bool
) -> None:
    """Believe the cluster whose root metadata is PATH from now on.

    PATH is a file such as 3.root.json in a copy of the cluster's folder `tuf`, or that folder:
    then its newest. Nothing but you vouches for it: compare its SHA-256 with what the operator
    tells you on another way.
    """
    from device_agent.enrolling import Enrolment

    folders = Folders.standard()
    enrolment = Enrolment.read(path, account)
    if expected is None:
        say(f"the root metadata has the SHA-256 {enrolment.sha256}")
        say("hint: compare it with the operator's, or give that as --sha256")
    else:
        enrolment.require(expected)
    profile = Settings.load(folders=folders).settings.profile
    asyncio.run(enrolment.write(folders, profile=profile, replace=replace))
    if account is None and not (folders.state / "account.json").exists():
        say("hint: requests take an account at the cluster's issuer, too: --account FILE")
    _print(_state(), as_json=as_json)


async def _update(store: "TrustRootStore", folder: Path | None) -> None:
    from device_agent.cloud.relay_files import relay_files
    from trust.updates import FolderSource

    if folder is not None:
        await store.update(FolderSource(folder))
        return
    root = _state().trust_root
    if root is None:
        raise CloudUnavailable("the enrolment is not whole", hint="lanai trust enrol --help")
    async with relay_files(root) as files:
        await store.update(files)


def _state() -> "TrustState":
    from trust.updates import TrustRootStore

    state = TrustRootStore.of(Folders.standard().state).state()
    if state is None:
        raise CloudUnavailable(
            "no cloud is enrolled", hint="`lanai cloud up` starts one; or lanai trust enrol --help"
        )
    return state


def _print(state: "TrustState", *, as_json: bool) -> None:
    from device_agent.trust_view import described, lines

    settings = Settings.load(folders=Folders.standard()).settings
    values = described(state, profile=settings.profile)
    if as_json:
        emit_json(values)
        return
    for line in lines(values):
        click.echo(line)
