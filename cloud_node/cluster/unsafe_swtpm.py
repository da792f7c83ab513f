"""A development cluster's TPM: a program on this machine, with an attestation CA of its own.

It proves nothing about hardware: whoever runs ``swtpm`` can read its keys and set its PCRs. It is
there so that development takes the whole path of a TPM: endorsement, activation, quotes, logs. The
CA's certificate carries a mark that policies for hardware refuse.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cloud_node.attestation_ca import AkAuthority, AttestationCaConfig
from cloud_node.cluster.isolation import Isolation
from cloud_node.cluster.keys import IDENTITY_LIFETIME_S, fresh_identities
from cloud_node.cluster.layout import ClusterLayout
from cloud_node.cluster.ownership import give
from cloud_node.cluster.ports import free_port
from cloud_node.cluster.processes import ProcessTable, is_alive, spawn
from cloud_node.cluster.starting import Starter, last_words
from cloud_node.listening import ListenConfig
from cloud_node.service import PinnedEndpoint
from cloud_node.tpm import TpmConfig, tpm_library_present
from lanai.errors import CloudUnavailable
from lanai.folders import private_folder
from trust.attestation.tpm2 import UnsafeSwtpmPolicy

__all__ = ["PROGRAMS", "SoftwareTpmFiles", "UnsafeSwtpm", "manufacture", "swtpm_command"]

PROGRAMS: Final = ("swtpm", "swtpm_setup", "swtpm_localca")
CA: Final = "attestation_ca"
TPM: Final = "unsafe_swtpm"
SETUP_S: Final = 60.0
READY_S: Final = 10.0
POLL_S: Final = 0.02
_NO_TPM: Final = "`pip uninstall tpm2-pytss` starts clusters without a software TPM"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftwareTpmFiles:
    """What ``swtpm`` keeps below ``folder``: its state, and the CA of its endorsement keys.

    ``made`` is the state as it was manufactured. Each start works on a copy: a TPM that is killed
    a few times while its keys are in use locks itself against guessing of their passwords.
    """

    folder: Path

    @property
    def made(self) -> Path:
        return self.folder / "made"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def root(self) -> str:
        """The CA's root (PEM)."""
        return self._read("swtpm-localca-rootca-cert.pem")

    @property
    def intermediate(self) -> str:
        """What the root signed, and signs endorsement keys (PEM)."""
        return self._read("issuercert.pem")

    def _read(self, name: str) -> str:
        return (self.folder / "ca" / name).read_text(encoding="ascii")


def manufacture(files: SoftwareTpmFiles) -> None:
    """Have ``state`` hold a TPM as new; one is made, with certified endorsement keys, only once.

    Blocks, the first time for about a second. Raises ``CloudUnavailable``.
    """
    if not (files.made / "tpm2-00.permall").exists():
        _make(files)
    shutil.rmtree(files.state, ignore_errors=True)
    shutil.copytree(files.made, private_folder(files.state), dirs_exist_ok=True)


def _make(files: SoftwareTpmFiles) -> None:
    # Half of an earlier try would not be continued.
    shutil.rmtree(files.folder, ignore_errors=True)
    for folder in (files.folder, files.made, files.folder / "ca"):
        private_folder(folder)
    config = _write_setup(files.folder)
    command = ["swtpm_setup", "--tpm2", "--tpmstate", f"dir://{files.made}", "--create-ek-cert"]
    command += ["--config", str(config), "--logfile", str(files.folder / "setup.log")]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=SETUP_S)
    except (OSError, subprocess.SubprocessError) as error:
        shutil.rmtree(files.made, ignore_errors=True)
        raise CloudUnavailable(
            f"swtpm_setup made no software TPM ({type(error).__name__})",
            hint=f"{files.folder / 'setup.log'} says why; {_NO_TPM}",
        ) from None


def swtpm_command(files: SoftwareTpmFiles, server: Path, *, mode: str = "0600") -> list[str]:
    """The program that serves the TPM at the socket ``server``, in the foreground."""
    program = shutil.which("swtpm") or "swtpm"
    return [
        program,
        "socket",
        "--tpm2",
        *("--tpmstate", f"dir={files.state}"),
        *("--server", f"type=unixio,path={server},mode={mode}"),
        *("--flags", "not-need-init,startup-clear"),
    ]


class UnsafeSwtpm:
    """The software TPM and the attestation CA of one cluster."""

    def __init__(self, layout: ClusterLayout) -> None:
        self._layout = layout
        self._files = SoftwareTpmFiles(folder=layout.own("tpm") / "swtpm")
        self._user = Isolation.of(layout).user("tpm")
        self._certificate = fresh_identities(layout.folder / "keys", (CA,))[CA]
        # A new one with each `up`, as TLS identities: nothing that it certified outlives a cluster.
        self._authority = AkAuthority.create(
            f"unsafe swtpm CA of {layout.name}",
            lifetime_s=IDENTITY_LIFETIME_S,
            now=time.time(),
            unsafe_swtpm=True,
        )
        self._authority.write(self._key, self._key.with_suffix(".pem"))
        self._port = free_port()

    @classmethod
    def installed(cls, layout: ClusterLayout) -> "UnsafeSwtpm | None":
        """One for this cluster, where everything that it needs is installed."""
        here = tpm_library_present() and all(map(shutil.which, PROGRAMS))
        return cls(layout) if here else None

    @property
    def policy(self) -> UnsafeSwtpmPolicy:
        """What a device accepts its quotes by."""
        return UnsafeSwtpmPolicy((self._authority.pem,))

    def node(self) -> TpmConfig:
        """What a node is told."""
        return TpmConfig(
            unsafe_swtpm_socket=str(self._socket),
            authority=PinnedEndpoint(
                address=f"127.0.0.1:{self._port}", certificate=self._certificate
            ),
            event_file=self._layout.own("node") / "node-events",
        )

    async def start(self, starter: Starter) -> None:
        """1 a TPM as new; 2 serve it; 3 start the CA. Raises ``CloudUnavailable``."""
        # 1
        await asyncio.to_thread(manufacture, self._files)
        give(self._files.folder, self._user)
        # 2 and 3
        async with asyncio.TaskGroup() as group:
            group.create_task(self._serve())
            group.create_task(starter.start(CA, "cloud_node.attestation_ca", self._ca()))

    @property
    def _socket(self) -> Path:
        return self._layout.socket("tpm")

    @property
    def _key(self) -> Path:
        return self._layout.key("ak-authority.key")

    def _ca(self) -> AttestationCaConfig:
        return AttestationCaConfig(
            listen=ListenConfig(port=self._port, identity=self._layout.key(CA)),
            profile="development",
            signing_key=self._key,
            certificate=self._key.with_suffix(".pem"),
            unsafe_swtpm_roots=[self._files.root],
            ek_intermediates=[self._files.intermediate],
        )

    async def _serve(self) -> None:
        log = self._layout.log(TPM)
        self._socket.unlink(missing_ok=True)
        command = swtpm_command(self._files, self._socket, mode="0660" if self._user else "0600")
        entry, output = spawn(TPM, command, log=log, user=self._user)
        os.close(output)
        ProcessTable(self._layout.processes).put(entry)
        deadline = time.monotonic() + READY_S
        while not _answers(self._socket):
            if not is_alive(entry) or time.monotonic() > deadline:
                hint = f"{last_words(log) or f'see {log}'}; {_NO_TPM}"
                raise CloudUnavailable("the software TPM did not start", hint=hint)
            await asyncio.sleep(POLL_S)


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
        probe.connect(str(path))
        return True
    return False


def _write_setup(folder: Path) -> Path:
    """``swtpm_setup``'s configuration: a CA of our own, the SHA-256 bank alone."""
    ca, options, setup = folder / "ca", folder / "ca.options", folder / "setup.conf"
    keys = {
        "statedir": ca,
        "signingkey": ca / "signkey.pem",
        "issuercert": ca / "issuercert.pem",
        "certserial": ca / "certserial",
    }
    (folder / "ca.conf").write_text("".join(f"{name} = {path}\n" for name, path in keys.items()))
    options.write_text(
        "--platform-manufacturer Lanai\n--platform-version 1\n--platform-model dev\n"
    )
    setup.write_text(
        f"create_certs_tool = {shutil.which('swtpm_localca')}\n"
        f"create_certs_tool_config = {folder / 'ca.conf'}\n"
        f"create_certs_tool_options = {options}\n"
        "active_pcr_banks = sha256\n"
    )
    return setup
