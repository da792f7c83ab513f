"""Release records from files: the same tree gives the same digest, wherever it lies."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from lanai.cli.mount import run
from lanai.errors import EvidenceRejected, TrustError
from trust.attestation import Release, measure_folder, measure_software
from trust.attestation.configuration import MeasuredSettings, measure_configuration
from trust.attestation.measurement import MEASURED_PACKAGES

SETTINGS = MeasuredSettings(
    profile="development",
    model_name="toy",
    context_tokens=512,
    key_lifetime_s=3600,
    max_live=4,
    request_timeout_s=60.0,
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Our packages as an installation has them, with the metadata of two libraries."""
    tree = tmp_path / "installed"
    for name in MEASURED_PACKAGES:
        spec = importlib.util.find_spec(name)
        shutil.copytree(
            Path(spec.origin).parent, tree / name, ignore=shutil.ignore_patterns("__pycache__")
        )
    for name, version in (("torch", "1.0"), ("numpy", "2.0")):
        folder = tree / f"{name}-{version}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
    return tree


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A node's configuration, with what is measured and what is not."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"w")
    values = {
        "name": "node-0",
        "model_folder": str(tmp_path / "model"),
        "threads": 2,
        "profile": SETTINGS.profile,
        "model_name": SETTINGS.model_name,
        "context_tokens": SETTINGS.context_tokens,
        "key_lifetime_s": SETTINGS.key_lifetime_s,
        "max_live": SETTINGS.max_live,
        "request_timeout_s": SETTINGS.request_timeout_s,
    }
    path = tmp_path / "node.json"
    path.write_text(json.dumps(values))
    return path


def record(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, str]:
    assert run(["attest", "measure", *map(str, arguments), "--json"]) == 0
    found: dict[str, str] = json.loads(capsys.readouterr().out)
    return found


def test_the_same_tree_gives_the_same_record(
    tree: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tree and a model copied elsewhere have the same release record to the byte."""
    first = record(capsys, "--tree", tree, "--config", config)
    shutil.copytree(tree, tmp_path / "other" / "place")
    shutil.copytree(tmp_path / "model", tmp_path / "other" / "model")
    again = record(
        capsys,
        *("--tree", tmp_path / "other" / "place", "--config", config),
        *("--model", tmp_path / "other" / "model"),
    )
    assert again == first
    release = Release.parse(first["record"].encode())
    assert (release.digest(), release.model) == (first["measurement"], "toy")
    assert release.software == measure_software() == measure_software(tree=tree)
    assert release.weights == measure_folder(tmp_path / "model")


def test_one_changed_byte_is_another_release(
    tree: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A changed module, a changed weight, another library and another limit each show."""
    arguments = ("--tree", tree, "--config", config)
    digests = {record(capsys, *arguments)["measurement"]}
    with (tree / "trust" / "__init__.py").open("a") as module:
        module.write("#")
    digests.add(record(capsys, *arguments)["measurement"])
    (tmp_path / "model" / "weights").write_bytes(b"v")
    digests.add(record(capsys, *arguments)["measurement"])
    (tree / "torch-1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: torch\nVersion: 1.1\n"
    )
    digests.add(record(capsys, *arguments)["measurement"])
    values = json.loads(config.read_text()) | {"max_live": 5}
    config.write_text(json.dumps(values))
    digests.add(record(capsys, *arguments)["measurement"])
    assert len(digests) == 5


def test_golden_values_are_part_of_the_record(
    tree: Path, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a machine must measure cannot come from a tree: it is given, and in the digest."""
    plain = record(capsys, "--tree", tree, "--config", config)
    (tmp_path / "golden.json").write_text(json.dumps({"tpm2": {"pcr_4": "ab" * 32}}))
    golden = ("--golden", tmp_path / "golden.json")
    release = Release.parse(
        record(capsys, "--tree", tree, "--config", config, *golden)["record"].encode()
    )
    assert release.golden == {"tpm2": {"pcr_4": "ab" * 32}}
    assert release.digest() != plain["measurement"]
    (tmp_path / "golden.json").write_text("[]")
    command = ["attest", "measure", "--tree", str(tree), "--config", str(config)]
    assert run([*command, *map(str, golden)]) == 10


def test_what_is_not_measured_does_not_show(
    tree: Path, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Names, threads and compiled files are this machine's own."""
    first = record(capsys, "--tree", tree, "--config", config)
    (tree / "trust" / "__pycache__").mkdir()
    (tree / "trust" / "__pycache__" / "x.pyc").write_bytes(b"x")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"threads": 9, "name": "n"}))
    assert record(capsys, "--tree", tree, "--config", config) == first


def test_the_node_measures_the_same_way() -> None:
    """Every setting is in the digest, and a whole number of seconds is one spelling."""
    digest = measure_configuration(SETTINGS)
    changes = {
        "profile": "production",
        "model_name": "x",
        "context_tokens": 1,
        "key_lifetime_s": 1,
        "max_live": 1,
        "request_timeout_s": 1.0,
    }
    others = {measure_configuration(replace(SETTINGS, **{k: v})) for k, v in changes.items()}
    assert len(others | {digest}) == len(changes) + 1
    values = {name: getattr(SETTINGS, name) for name in changes} | {"request_timeout_s": 60}
    assert MeasuredSettings.of(values) == SETTINGS


def test_what_cannot_be_measured_is_an_error(tree: Path, tmp_path: Path) -> None:
    """A folder without our packages, and settings of another form, give no digest."""
    with pytest.raises(EvidenceRejected):
        measure_software(tree=tmp_path)
    (tree / "trust" / "link.py").symlink_to(tree / "trust" / "__init__.py")
    with pytest.raises(EvidenceRejected):
        measure_software(tree=tree)
    for values in ({}, {"request_timeout_s": "60"}, {"request_timeout_s": True}):
        with pytest.raises(TrustError):
            MeasuredSettings.of(values)
