"""A real software TPM and a real attestation CA, started by the tests that use them."""

import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cloud_node.attestation_ca import AkAuthority, AttestationCaConfig
from cloud_node.cluster.keys import fresh_identities
from cloud_node.cluster.unsafe_swtpm import (
    PROGRAMS,
    SoftwareTpmFiles,
    manufacture,
    swtpm_command,
)
from cloud_node.listening import ListenConfig
from cloud_node.service import PinnedEndpoint
from cloud_node.tpm import TpmAddress
from trust.attestation.tpm2 import UnsafeSwtpmPolicy


@dataclass(frozen=True, kw_only=True)
class RunningCa:
    """The CA's process: where it listens, what a device accepts by it, its log."""

    endpoint: PinnedEndpoint
    policy: UnsafeSwtpmPolicy
    log: Path


@pytest.fixture(scope="session")
def swtpm_files(tmp_path_factory: pytest.TempPathFactory) -> SoftwareTpmFiles:
    """A TPM with certified endorsement keys. Fails where the programs are missing."""
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    missing += [] if importlib.util.find_spec("tpm2_pytss") else ["tpm2-pytss"]
    if missing:
        pytest.fail(f"missing: {', '.join(missing)} (`make test` installs them)", pytrace=False)
    files = SoftwareTpmFiles(folder=tmp_path_factory.mktemp("swtpm"))
    manufacture(files)
    return files


@pytest.fixture
def swtpm(swtpm_files: SoftwareTpmFiles) -> Iterator[TpmAddress]:
    """The TPM, just started: its PCRs are zero."""
    manufacture(swtpm_files)
    with tempfile.TemporaryDirectory(prefix="tpm") as folder:
        path = Path(folder) / "s"
        with process(swtpm_command(swtpm_files, path)) as running:
            while not path.exists():
                assert running.poll() is None, "swtpm ended"
                time.sleep(0.01)
            yield TpmAddress(path=str(path), unsafe_swtpm=True)


@pytest.fixture
def ca(swtpm_files: SoftwareTpmFiles, tmp_path: Path) -> Iterator[RunningCa]:
    """The attestation CA as a process, for endorsement keys of that TPM's maker."""
    with running_ca(tmp_path, [swtpm_files.root], [swtpm_files.intermediate]) as found:
        yield found


@contextmanager
def running_ca(folder: Path, roots: list[str], intermediates: list[str]) -> Iterator[RunningCa]:
    """A CA that believes ``roots``."""
    authority = AkAuthority.create("test", lifetime_s=3600, now=time.time(), unsafe_swtpm=True)
    key, certificate = folder / "ak.key", folder / "ak.pem"
    authority.write(key, certificate)
    tls = fresh_identities(folder, ["ca"])["ca"]
    config = AttestationCaConfig(
        listen=ListenConfig(identity=folder / "ca"),
        profile="development",
        signing_key=key,
        certificate=certificate,
        unsafe_swtpm_roots=roots,
        ek_intermediates=intermediates,
    ).write(folder / "ca.json")
    command = [sys.executable, "-P", "-m", "cloud_node.attestation_ca", "--config", str(config)]
    log = folder / "ca.jsonl"
    with log.open("wb") as errors, process(command, stdout=subprocess.PIPE, stderr=errors) as ran:
        assert ran.stdout is not None
        line = ran.stdout.readline()
        assert line, log.read_text()
        yield RunningCa(
            endpoint=PinnedEndpoint(address=json.loads(line)["address"], certificate=tls),
            policy=UnsafeSwtpmPolicy((authority.pem,)),
            log=log,
        )
        ran.stdout.close()


@contextmanager
def process(command: list[str], **streams: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """A child that ends with the block."""
    child = subprocess.Popen(command, **streams)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(10)
