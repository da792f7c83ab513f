"""The recipes of `docs/verify-a-release.md` give a record's digests, without our code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from cloud_node.cli.inspect import node
from trust.attestation.configuration import MeasuredSettings, measure_configuration
from trust.attestation.measurement import measure_folder, measure_software

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "verify-a-release.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


def block(words: str) -> str:
    """The one block that holds these words."""
    (found,) = [text for text in BLOCKS if words in text]
    return str(found)


def shell(script: str, folder: Path, **variables: str) -> str:
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **variables},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()[0]


def test_the_softwares_digest_is_one_pipeline(tmp_path: Path) -> None:
    """``find``, ``sort`` and ``sha256sum`` over a checkout, which is what is installed."""
    (tmp_path / "src").symlink_to(ROOT)
    assert shell(block("cloud_node inference lanai protos"), tmp_path) == measure_software()


def test_so_is_the_weights(tmp_path: Path) -> None:
    """Over all files of a folder, those in folders below it too."""
    model = tmp_path / "model"
    (model / "more").mkdir(parents=True)
    for name in ("b.json", "a.gguf", "more/a.txt", "A.txt"):
        (model / name).write_text(name)
    script = "\n".join(block('cd "$model"').splitlines()[1:])  # behind the line that finds it
    assert shell(script, tmp_path, model=str(model)) == measure_folder(model)


def test_so_is_the_configurations(tmp_path: Path) -> None:
    """The page's settings are all that is measured, beside versions."""
    text = block("settings.json <<")
    (settings,) = re.findall(r"<<'JSON'\n(.*?)JSON", text, re.DOTALL)
    (script,) = re.findall(r"<<'PYTHON'\n(.*?)PYTHON", text, re.DOTALL)
    (tmp_path / "settings.json").write_text(settings)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    measured = measure_configuration(MeasuredSettings.of(json.loads(settings)))
    assert done.stdout.strip() == measured


def test_every_option_is_named() -> None:
    """What `--inspect` takes, its page tells."""
    names = {
        name for item in node.params if isinstance(item, click.Option) for name in item.opts
    } - {"-h", "--help"}
    assert {name for name in names if name not in PAGE} == set()


@pytest.mark.parametrize("path", sorted(set(re.findall(r"src/(examples/[\w.]+)", PAGE))))
def test_its_examples_exist(path: str) -> None:
    """The page runs what is there."""
    assert (ROOT / path).is_file()
