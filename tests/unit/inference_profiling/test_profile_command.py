"""``lanai models profile``: the keys of the contract, the pictures, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import pytest

from inference.profiling import Profile, draw, write_page
from lanai.cli.mount import run


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANAI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LANAI_DEVICE_THREADS", "1")


def test_a_source_is_profiled_without_a_packed_form(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Keys of the contract; the picture is written; nothing is held and no step is measured."""
    page = tmp_path / "page.html"
    arguments = ["--bits", "4", "--rounds", "1", "--plot", str(page), "--json"]
    assert run(["models", "profile", str(models / "source"), *arguments]) == 0
    value = json.loads(capsys.readouterr().out)
    tensor = next(each for each in value["tensors"] if each["name"] == "layers.0.q")
    assert all(form.keys() >= {"bits", "latency_us", "bytes", "error"} for form in tensor["forms"])
    assert value["allocation"]["bits"] == 4
    assert value["allocation"]["tensors"].keys() == {
        each["name"] for each in value["tensors"] if each["name"].startswith("layers.")
    }
    assert value["gain"]["bytes"] > 0
    assert value["gain"]["perplexity"] > 1
    assert tensor["held"] is None
    assert value["step_ms"] is None
    assert page.is_file()


def test_the_page_is_one_file_that_fetches_nothing(profiled: Profile, tmp_path: Path) -> None:
    """Its policy forbids every load, no address is in it, and its data is the profile's JSON."""
    write_page(profiled, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "default-src 'none'" in page
    addresses = set(re.findall(r"https?://[^\"'\s]+", page))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}
    found = re.search(r"const data = (\{.*?\}), parts = \[", page, re.DOTALL)
    assert found is not None
    assert json.loads(found[1]) == json.loads(json.dumps(profiled.to_json()))


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_pictures_are_drawn(profiled: Profile, tmp_path: Path, ending: str) -> None:
    """By the name's ending."""
    path = tmp_path / f"picture.{ending}"
    draw(profiled, path)
    assert path.read_bytes()[:5] in (b"\x89PNG\r", b"<?xml")


def test_what_cannot_be_done_is_a_usage_error(
    models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another ending, too short a text, a source that is another model."""
    short = tmp_path / "short.txt"
    short.write_text("too short")
    packed = str(models / "packed")
    assert run(["models", "profile", packed, "--plot", "picture.bmp"]) != 0
    source = ["--source", str(models / "source")]
    assert run(["models", "profile", packed, *source, "--text", str(short)]) != 0
    assert "--chunks" in capsys.readouterr().err
    other = tmp_path / "other"
    shutil.copytree(models / "source", other)
    settings = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps({**settings, "rope_theta": 500.0}))
    assert run(["models", "profile", packed, "--source", str(other)]) != 0
    assert "was not packed from that source" in capsys.readouterr().err
