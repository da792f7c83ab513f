"""Stores for the contract suite: the fake, the embedded server, and the system's Redis."""

import datetime
import ipaddress
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from cloud_node.cluster.ports import free_port
from cloud_node.process import end_process
from cloud_node.store import MemoryStore, Store, open_store
from cloud_node.store.embedded import EmbeddedStore, store_url
from cloud_node.store.roles import Passwords, Role, acl_lines

KINDS = ("memory", "embedded", "redis", "redis_tls")


@pytest.fixture(scope="session")
def short_folder() -> Iterator[Path]:
    """A short path: sockets live below it."""
    with tempfile.TemporaryDirectory(prefix="lanai-") as name:
        yield Path(name)


@pytest.fixture(scope="session")
def embedded(short_folder: Path) -> Iterator[EmbeddedStore]:
    store = EmbeddedStore.start(
        short_folder / "embedded", short_folder / "e.sock", Passwords.generate()
    )
    yield store
    store.stop()


@pytest.fixture(scope="session")
def redis_url(short_folder: Path) -> Iterator[dict[Role, str]]:
    """Debian's redis-server with the same ACL file, on a socket file."""
    passwords, path = Passwords.generate(), short_folder / "r.sock"
    with redis_server(short_folder, passwords, "--port", "0", "--unixsocket", str(path)):
        wait_for(socket.AF_UNIX, str(path))
        yield {role: store_url(path, role, passwords) for role in Role}


@pytest.fixture(scope="session")
def redis_tls_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Role, str]]:
    """The same server over TLS 1.3 with client certificates."""
    folder, passwords = tmp_path_factory.mktemp("tls"), Passwords.generate()
    port = free_port()  # it takes no port 0 for TLS
    key, certificate = write_certificate(folder)
    options = ("--port", "0", "--tls-port", str(port), "--tls-protocols", "TLSv1.3")
    files = ("--tls-cert-file", certificate, "--tls-key-file", key)
    with redis_server(folder, passwords, *options, *files, "--tls-ca-cert-file", certificate):
        wait_for(socket.AF_INET, ("127.0.0.1", port))
        query = f"ssl_ca_certs={certificate}&ssl_certfile={certificate}&ssl_keyfile={key}"
        yield {
            role: f"rediss://{role}:{passwords.of[role]}@127.0.0.1:{port}?{query}" for role in Role
        }


@contextmanager
def redis_server(folder: Path, passwords: Passwords, *options: str) -> Iterator[None]:
    program = shutil.which("redis-server")
    if program is None:
        message = "redis-server is not installed (apt-get install redis-server)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    acl = folder / "users.acl"
    acl.write_text(acl_lines(passwords))
    command = [program, "--bind", "127.0.0.1", "--save", "", "--aclfile", str(acl), *options]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
    try:
        yield
    finally:
        end_process(process, grace_s=3.0)


def write_certificate(folder: Path) -> tuple[str, str]:
    """Paths of a key and a certificate for 127.0.0.1, which both ends use."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "store")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    key_file, certificate_file = folder / "store.key", folder / "store.pem"
    key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    certificate_file.write_bytes(certificate.public_bytes(Encoding.PEM))
    return str(key_file), str(certificate_file)


def wait_for(family: socket.AddressFamily, address: Any) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket(family) as probe:
            try:
                return probe.connect(address)
            except OSError:
                time.sleep(0.02)
    raise TimeoutError("redis-server did not start")


@pytest.fixture(params=KINDS)
async def stores(request: pytest.FixtureRequest) -> AsyncIterator[dict[Role, Store]]:
    """The store as each role sees it."""
    if request.param == "memory":
        one = MemoryStore()
        yield dict.fromkeys(Role, one)
        return
    urls: Any = (
        {role: request.getfixturevalue("embedded").url(role) for role in Role}
        if request.param == "embedded"
        else request.getfixturevalue(f"{request.param}_url")
    )
    opened = {role: open_store(urls[role]) for role in Role}
    yield opened
    for store in opened.values():
        await store.close()
