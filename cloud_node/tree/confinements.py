"""What each piece of a node goes on needing, and why. Everything else is refused to it.

The engine's is `inference.confining`, since it is no process of this package.

| piece     | network                       | files                          | processes |
|-----------|-------------------------------|--------------------------------|-----------|
| front     | its port, the store, the log  | code                           | none      |
| keyholder | the attestation CA with a TPM | code, what evidence is made of | none      |
| zygote    | none                          | code                           | forks     |
| worker    | none                          | code                           | none      |
| engine    | none                          | code, the model                | none      |

Code stays readable, since a library imports a module when it first needs it; nothing else of the
machine does. Nobody executes a program, and nobody but the keyholder changes a file.
"""

from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, urlsplit

from cloud_node.node.config import NodeConfig
from cloud_node.node.evidence import EvidenceConfig
from lanai.confinement import SWAPS, Confinement, hardware_view, interpreter_view

__all__ = [
    "front_confinement",
    "keyholder_confinement",
    "worker_confinement",
    "zygote_confinement",
]

PACKAGES: Final = ("cloud_node", "inference", "lanai", "protos", "trust")
BACKLOG: Final = Path("/proc/sys/net/core/somaxconn")
"""Read by gRPC when it listens."""
REDIS_PORT: Final = 6379
RESOLVER: Final = tuple(
    Path("/etc", name)
    for name in ("resolv.conf", "hosts", "host.conf", "nsswitch.conf", "gai.conf", "services")
)
"""Read by whoever turns a host's name into an address."""
# The tokenizer looks at it before each batch: threads of its own could not be forked with.
SINGLE_THREAD: Final = frozenset({"TOKENIZERS_PARALLELISM"})


def front_confinement(config: NodeConfig) -> Confinement:
    """Ciphertext only: a port of the kernel's choice, the store, the log."""
    store = urlsplit(config.store_url)
    hosts = [config.host, _host(config.log.address), store.hostname or ""]
    log, in_file = {_port(config.log.address)}, store.scheme == "unix"
    return Confinement(
        read=(
            *interpreter_view(*PACKAGES),
            *hardware_view(),
            BACKLOG,
            *_credentials(config.store_url),
            *_resolver(hosts),
        ),
        sockets=True,
        tcp_bind=True,  # each epoch of keys has a port of its own
        tcp_connect=frozenset(log if in_file else log | {store.port or REDIS_PORT}),
        unix_sockets=in_file,  # the embedded store's
        datagrams=_named(hosts),
    )


def keyholder_confinement(config: NodeConfig) -> Confinement:
    """The node's keys: what its kinds of evidence are made from, and the CA of a TPM's key."""
    evidence, tpm = config.evidence, config.evidence.tpm
    hosts = [_host(tpm.authority.address)] if tpm else []
    return Confinement(
        read=(
            *interpreter_view(*PACKAGES),
            *hardware_view(),
            *_evidence_read(evidence),
            *_resolver(hosts),
        ),
        write=tuple(_evidence_written(evidence)),
        sockets=tpm is not None,
        tcp_connect=frozenset({_port(tpm.authority.address)} if tpm else ()),
        unix_sockets=tpm is not None and tpm.unsafe,  # a software TPM's
        datagrams=_named(hosts),
    )


def zygote_confinement() -> Confinement:
    """Warm and without content: it forks, and by the kernel's word has one thread."""
    return Confinement(
        read=(*interpreter_view(*PACKAGES), SWAPS),  # the latter for its workers' own confinement
        fork=True,
        threads=False,
        environment=SINGLE_THREAD,
    )


def worker_confinement() -> Confinement:
    """One request's text: no file but code, no socket, no process, no thread."""
    return Confinement(read=interpreter_view(*PACKAGES), threads=False, environment=SINGLE_THREAD)


def _evidence_read(evidence: EvidenceConfig) -> Iterator[Path]:
    """Firmware's log, GPU's state, and collateral that the operator replaces while it is used."""
    if evidence.tpm is not None and evidence.tpm.boot_log is not None:
        yield evidence.tpm.boot_log
    if evidence.tdx is not None:
        yield evidence.tdx.collateral.parent
    if evidence.nvidia:
        yield Path("/proc/driver/nvidia")


def _evidence_written(evidence: EvidenceConfig) -> Iterator[Path]:
    """Devices, the folders that are requests to the kernel, and the TPM's event log."""
    if evidence.tpm is not None:
        yield evidence.tpm.event_file.parent  # replaced in one step, beside its lock
        if evidence.tpm.device is not None:
            yield Path(evidence.tpm.device)
    for kind in (evidence.sev_snp, evidence.tdx):
        if kind is not None:
            yield kind.tsm_folder
    if evidence.nvidia:
        yield from Path("/dev").glob("nvidia*")


def _credentials(store_url: str) -> Iterator[Path]:
    """Files that the store's URL names for TLS, read anew for each connection."""
    for values in parse_qs(urlsplit(store_url).query).values():
        yield from map(Path, values)


def _resolver(hosts: list[str]) -> tuple[Path, ...]:
    return RESOLVER if _named(hosts) else ()


def _named(hosts: list[str]) -> bool:
    """Whether one of them is a name that a resolver has to be asked for."""
    return any(host and not _is_address(host) for host in hosts)


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _host(address: str) -> str:
    return address.rpartition(":")[0]


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])
