"""Models from elsewhere: files and folders of this machine, and a hub, here a local one."""

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from inference.catalog import Catalog
from inference.catalog.hub import HubDownload
from inference.testing import write_tiny_model
from lanai.errors import DiskFull, ModelError, ModelFormatError, ModelNotFound, UsageError

COMMIT = "c" * 40


@pytest.fixture
def huggingface(tmp_path: Path) -> Path:
    """A Hugging Face folder with a pickle beside its weights."""
    folder = write_tiny_model(tmp_path / "my-model")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\nhello")
    return folder


def test_a_folder_is_copied_without_its_pickles(
    catalog: Catalog, huggingface: Path, folder: Path
) -> None:
    """What a model needs comes along; the facts are counted from the safetensors header."""
    model = catalog.pull(str(huggingface))
    names = {path.name for path in model.path.iterdir()}
    assert "model.safetensors" in names
    assert "tokenizer.json" in names
    assert "pytorch_model.bin" not in names
    assert (model.name, model.format, model.file) == ("my-model", "huggingface", None)
    assert (model.architecture, model.license, model.source) == ("llama", "apache-2.0", "local")
    assert model.bits_per_weight == 32
    weights = (huggingface / "model.safetensors").read_bytes()
    assert model.sha256 == hashlib.sha256(weights).hexdigest()
    (huggingface / "model.safetensors").unlink()
    assert catalog.verify("my-model") == model


def test_a_gguf_file_is_installed_under_its_stem(catalog: Catalog, gguf: Path) -> None:
    """A file of the user's becomes a model whose licence is read from the file."""
    own = gguf.with_name("my-own.gguf")
    own.write_bytes(gguf.read_bytes())
    model = catalog.pull(str(own))
    assert (model.name, model.file, model.license) == ("my-own", "my-own.gguf", "mit")


def test_a_changed_file_is_installed_anew(catalog: Catalog, gguf: Path, tmp_path: Path) -> None:
    """Pulling a path means what lies there now; the name of a catalog model is not taken over."""
    own = tmp_path / "own.gguf"
    own.write_bytes(gguf.read_bytes())
    first = catalog.pull(str(own))
    assert catalog.pull(str(own)) == first
    own.write_bytes(gguf.read_bytes()[:-1] + b"\x01")
    assert catalog.pull(str(own)).sha256 != first.sha256
    with pytest.raises(UsageError):
        catalog.pull(str(gguf))  # tiny.gguf, and the catalog has a tiny


def test_symbolic_links_and_empty_places_are_refused(
    catalog: Catalog, huggingface: Path, tmp_path: Path
) -> None:
    """A link could lead anywhere; a folder without config.json is no model."""
    (huggingface / "model.safetensors").rename(tmp_path / "elsewhere")
    (huggingface / "model.safetensors").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ModelFormatError):
        catalog.pull(str(huggingface))
    with pytest.raises(ModelNotFound):
        catalog.pull(str(tmp_path / "nothing"))


def test_a_path_is_found_without_being_installed(catalog: Catalog, gguf: Path) -> None:
    """find takes a bare file or folder, hashed on the spot."""
    found = catalog.find(str(gguf))
    assert found.sha256 == hashlib.sha256(gguf.read_bytes()).hexdigest()
    assert catalog.installed() == ()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("bytes", -1),
        ("bytes", "many"),
        ("file", "../secret"),
        ("bits_per_weight", None),
        ("schema", "lanai.model/2"),
        ("surplus", 1),
    ],
)
def test_a_lying_manifest_is_refused(catalog: Catalog, key: str, value: Any) -> None:
    """lanai.json is read strictly; a damaged model is passed over in lists and can be removed."""
    path = catalog.pull("tiny").path / "lanai.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(ModelFormatError):
        catalog.find("tiny")
    assert catalog.installed() == ()
    catalog.remove("tiny")
    with pytest.raises(ModelNotFound):
        catalog.find("tiny")


class Hub(BaseHTTPRequestHandler):
    """As much of the hub's protocol as a snapshot needs."""

    files: dict[str, bytes]
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        if self.path.startswith(f"/api/models/org/tiny/tree/{COMMIT}"):
            entries = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in self.files.items()
            ]
            self._send(200, json.dumps(entries).encode(), body, {})
            return
        if self.path.startswith("/api/models/org/tiny"):
            siblings = [{"rfilename": name, "size": len(d)} for name, d in self.files.items()]
            value = {"id": "org/tiny", "modelId": "org/tiny", "sha": COMMIT, "siblings": siblings}
            self._send(200, json.dumps(value).encode(), body, {})
            return
        name = self.path.rpartition("/")[2]
        if self.path != f"/org/tiny/resolve/{COMMIT}/{name}" or name not in self.files:
            self._send(404, b"", body, {"X-Error-Code": "RepoNotFound"})
            return
        self.asked.append(name)
        etag = hashlib.sha256(self.files[name]).hexdigest()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{etag}"'}
        self._send(200, self.files[name], body, headers)

    def _send(self, code: int, data: bytes, body: bool, headers: dict[str, str]) -> None:
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(key, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(huggingface: Path) -> Iterator[tuple[str, type[Hub]]]:
    files = {path.name: path.read_bytes() for path in huggingface.iterdir()}
    handler = type("Served", (Hub,), {"files": files, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def test_a_hub_model_comes_without_pickles(folder: Path, hub: tuple[str, type[Hub]]) -> None:
    """organization/name is fetched from the endpoint; nobody even asks for the pickle."""
    endpoint, handler = hub
    catalog = Catalog(folder, hub=HubDownload(endpoint))
    model = catalog.pull("org/tiny")
    assert (model.name, model.path.name) == ("org/tiny", "org--tiny")
    assert model.source == f"hub:org/tiny@{COMMIT}"
    assert "model.safetensors" in handler.asked
    assert "pytorch_model.bin" not in handler.asked
    assert not [path for path in model.path.rglob("*") if path.is_dir()]
    count = len(handler.asked)
    assert catalog.verify("org/tiny") == catalog.pull("org/tiny") == model
    assert len(handler.asked) == count
    assert "org/tiny" in catalog.names()


def test_a_hub_that_lacks_the_model_or_is_away(folder: Path, hub: tuple[str, type[Hub]]) -> None:
    """Both are errors of ours, and leave nothing."""
    endpoint, _ = hub
    with pytest.raises(ModelNotFound):
        Catalog(folder, hub=HubDownload(endpoint)).pull("org/other")
    with pytest.raises(ModelError):
        Catalog(folder, hub=HubDownload("http://127.0.0.1:9")).pull("org/tiny")
    assert not folder.exists() or not list(folder.iterdir())


def test_the_size_of_a_hub_model_is_asked_first(folder: Path, hub: tuple[str, type[Hub]]) -> None:
    """DiskFull before the weights are fetched."""
    endpoint, handler = hub
    with pytest.raises(DiskFull) as caught:
        Catalog(folder, hub=HubDownload(endpoint), free=lambda _: 100).pull("org/tiny")
    assert caught.value.needed > len(handler.files["model.safetensors"])
