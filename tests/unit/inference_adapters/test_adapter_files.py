"""Folders of adapters: what is written is read back, and what is wrong is said and refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from inference.adapters import (
    AdapterManifest,
    Base,
    BaseModel,
    base_model_at,
    check_name,
    read_adapter,
    write_adapter,
)
from inference.adapters.manifest import read_manifest
from inference.adapters.rounding import to_int8_rows
from inference.testing.random_adapter import random_adapter, write_random_adapter
from inference.testing.random_packed import tiny_config
from lanai.errors import AdapterError, AdapterFault, UsageError

CONFIG = tiny_config()
KEY = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"
Change = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_random_adapter(tmp_path / "plain", CONFIG, rank=4, alpha=8.0)
    return tmp_path / "plain"


def refused(folder: Path, base: BaseModel | None = None) -> AdapterFault:
    with pytest.raises(AdapterError) as caught:
        read_adapter(folder, CONFIG, base=base)
    assert caught.value.hint
    return caught.value.fault


@pytest.mark.parametrize(("bits", "most"), [(16, 1e-3), (8, 1e-2)])
def test_what_is_written_is_read(tmp_path: Path, bits: Any, most: float) -> None:
    """Every matrix, to the rounding of its bits; rank, alpha and form as they were."""
    written = write_random_adapter(
        tmp_path / "a", CONFIG, bits=bits, rank=5, alpha=7.0, stop=("\n",), chat_template="{{ 1 }}"
    )
    read = read_adapter(tmp_path / "a", CONFIG)
    assert (read.name, read.rank, read.alpha) == ("a", 5, 7.0)
    assert (read.stop, read.chat_template) == (("\n",), "{{ 1 }}")
    assert read.scale == 7.0 / 5
    assert read.matrices.keys() == written.matrices.keys()
    for name, pair in written.matrices.items():
        for half in ("a", "b"):
            ours, theirs = getattr(pair, half), getattr(read.matrices[name], half)
            assert np.abs(ours - theirs).max() <= most * np.abs(ours).max()


def test_eight_bits_round_once(tmp_path: Path) -> None:
    """An adapter read from 8 bits and written in 8 bits is the same file."""
    write_random_adapter(tmp_path / "a", CONFIG, bits=8)
    again = read_adapter(tmp_path / "a", CONFIG)
    manifest = read_manifest(tmp_path / "a")
    assert manifest is not None
    assert write_adapter(tmp_path / "b", again, manifest, 8).sha256 == manifest.sha256


@given(rows=st.integers(1, 9), columns=st.integers(1, 40), seed=st.integers(0, 999))
@settings(deadline=None, max_examples=50)
def test_eight_bits_keep_rows_to_half_a_step(rows: int, columns: int, seed: int) -> None:
    """No number is off by more than a step of its row's scale; rows of zeros stay zero."""
    random = np.random.default_rng(seed)
    values = (random.standard_normal((rows, columns)) * 10.0 ** random.integers(-6, 3)).astype("f4")
    values[0] = 0
    codes, scale = to_int8_rows(values)
    assert not codes[0].any()
    assert (np.abs(codes * scale[:, None] - values) <= 0.8 * scale[:, None] + 1e-30).all()


def test_bfloat16_and_float32_are_read(folder: Path) -> None:
    """PEFT saves in the type it trained in."""
    import torch
    from safetensors.torch import save_file as save_torch

    (folder / "lanai.json").unlink()
    tensors = load_file(folder / "adapter_model.safetensors")
    as_torch = {key: torch.from_numpy(value) for key, value in tensors.items()}
    for dtype, most in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
        save_torch(
            {key: value.to(dtype) for key, value in as_torch.items()},
            folder / "adapter_model.safetensors",
        )
        read = read_adapter(folder, CONFIG).matrices["layers.0.q"].a
        assert np.abs(read - tensors[KEY]).max() <= most * np.abs(tensors[KEY]).max()


def test_rank_stabilized_scaling_is_followed(folder: Path) -> None:
    """`use_rslora` divides by the root of the rank."""
    change(folder, "adapter_config.json", use_rslora=True)
    assert read_adapter(folder, CONFIG).scale == pytest.approx(8.0 / 2)


# As PEFT 0.21 writes them beside those that a LoRA is made of.
DEFAULTS: dict[str, Any] = {
    "alora_invocation_tokens": None,
    "alpha_pattern": {},
    "arrow_config": None,
    "auto_mapping": None,
    "corda_config": None,
    "ensure_weight_tying": False,
    "eva_config": {"rho": 2.0},
    "exclude_modules": None,
    "init_lora_weights": True,
    "kasa_config": None,
    "layer_replication": None,
    "layers_pattern": None,
    "layers_to_transform": [0, 1],
    "loftq_config": {},
    "lora_bias": False,
    "lora_ga_config": None,
    "megatron_config": None,
    "megatron_core": "megatron.core",
    "modules_to_save": None,
    "monteclora_config": None,
    "peft_version": "0.21.2",
    "qalora_group_size": 16,
    "rank_pattern": {},
    "revision": None,
    "target_parameters": None,
    "trainable_token_indices": None,
    "use_bdlora": None,
    "use_dora": False,
    "use_qalora": False,
    "velora_config": None,
}


@pytest.mark.parametrize("targets", [r".*\.(q|v)_proj", "all-linear", ["model.layers.0.q_proj"]])
def test_the_settings_of_peft_are_read(folder: Path, targets: Any) -> None:
    """Every key it writes, whatever form the targets have: the tensors say what they are."""
    change(folder, "adapter_config.json", **DEFAULTS, target_modules=targets)
    assert len(read_adapter(folder, CONFIG).matrices) == 2 * 7


def test_ranks_and_alphas_of_their_own_are_followed(folder: Path) -> None:
    """`rank_pattern` and `alpha_pattern`, by the end of a name or the whole of it."""
    written = dict(read_adapter(folder, CONFIG).matrices)
    key = KEY.replace("q_proj", "k_proj")
    resave(folder, lambda t: t.update(halves(t, key, 2)))
    change(
        folder,
        "adapter_config.json",
        rank_pattern={"^model.layers.0.self_attn.k_proj": 2, "mlp.nothing": 9},
        alpha_pattern={"1.self_attn.k_proj": 3, "k_proj": 5},
        use_rslora=True,
    )
    read = read_adapter(folder, CONFIG)
    for name, rank, alpha in (
        ("layers.0.k", 2, 5),
        ("layers.1.k", 4, 3),
        ("layers.1.q", 4, 8.0),
    ):
        theirs, ours = written[name], read.matrices[name]
        assert ours.a.shape[0] == read.rank == 9
        wanted = theirs.b[:, :rank] @ theirs.a[:rank] * (alpha / rank**0.5)
        assert np.abs(ours.b @ ours.a * read.scale - wanted).max() < 1e-5


def halves(tensors: dict[str, Any], key: str, rank: int) -> dict[str, Any]:
    other = key.replace("lora_A", "lora_B")
    return {
        key: np.ascontiguousarray(tensors[key][:rank]),
        other: np.ascontiguousarray(tensors[other][:, :rank]),
    }


def change(folder: Path, file: str, **values: Any) -> None:
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def resave(folder: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    (folder / "lanai.json").unlink()
    path = folder / "adapter_model.safetensors"
    tensors = dict(load_file(path))
    edit(tensors)
    save_file(tensors, path)


def to_pickle(folder: Path) -> None:
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-3])


def enlarge(folder: Path) -> None:
    (folder / "adapter_model.safetensors").write_bytes(bytes(8 << 20))


WRONG: dict[str, tuple[AdapterFault, Change]] = {
    "no settings": (AdapterFault.DAMAGED, lambda f: (f / "adapter_config.json").unlink()),
    "settings of no JSON": (
        AdapterFault.DAMAGED,
        lambda f: (f / "adapter_config.json").write_text("{"),  # type: ignore[dict-item]
    ),
    "no weights": (AdapterFault.DAMAGED, lambda f: (f / "adapter_model.safetensors").unlink()),
    "a pickle": (AdapterFault.PICKLE, to_pickle),
    "cut off": (AdapterFault.DAMAGED, cut),
    "too large": (AdapterFault.TOO_LARGE, enlarge),
    "another kind": (
        AdapterFault.UNSUPPORTED,
        lambda f: change(f, "adapter_config.json", peft_type="IA3"),
    ),
    "DoRA": (AdapterFault.UNSUPPORTED, lambda f: change(f, "adapter_config.json", use_dora=True)),
    "a bias": (AdapterFault.UNSUPPORTED, lambda f: change(f, "adapter_config.json", bias="all")),
    "a rank that the tensors do not have": (
        AdapterFault.RANK,
        lambda f: change(f, "adapter_config.json", rank_pattern={"q_proj": 8}),
    ),
    "ranks by a pattern": (
        AdapterFault.UNSUPPORTED,
        lambda f: change(f, "adapter_config.json", rank_pattern={"(a+)+q_proj": 4}),
    ),
    "a huge rank of its own": (
        AdapterFault.RANK,
        lambda f: change(f, "adapter_config.json", rank_pattern={"q_proj": 1 << 30}),
    ),
    "ranks that are a list": (
        AdapterFault.DAMAGED,
        lambda f: change(f, "adapter_config.json", rank_pattern=["q_proj"]),
    ),
    "a base that was changed before": (
        AdapterFault.UNSUPPORTED,
        lambda f: change(f, "adapter_config.json", init_lora_weights="pissa_niter_4"),
    ),
    "tokens that switch it on": (
        AdapterFault.UNSUPPORTED,
        lambda f: change(f, "adapter_config.json", alora_invocation_tokens=[1, 2]),
    ),
    "a kind that came later": (
        AdapterFault.UNSUPPORTED,
        lambda f: change(f, "adapter_config.json", use_something=True),
    ),
    "rank zero": (AdapterFault.RANK, lambda f: change(f, "adapter_config.json", r=0)),
    "a huge rank": (AdapterFault.RANK, lambda f: change(f, "adapter_config.json", r=1 << 30)),
    "a rank that is a text": (AdapterFault.RANK, lambda f: change(f, "adapter_config.json", r="4")),
    "no alpha": (AdapterFault.DAMAGED, lambda f: change(f, "adapter_config.json", lora_alpha=None)),
    "alpha not finite": (
        AdapterFault.DAMAGED,
        lambda f: change(f, "adapter_config.json", lora_alpha=float("nan")),
    ),
    "an unknown target": (
        AdapterFault.TARGET,
        lambda f: change(f, "adapter_config.json", target_modules=["q_proj", "embed_tokens"]),
    ),
    "another rank than the tensors'": (
        AdapterFault.RANK,
        lambda f: change(f, "adapter_config.json", r=5),
    ),
    "a digest of other weights": (
        AdapterFault.DAMAGED,
        lambda f: change(f, "lanai.json", sha256="0" * 64),
    ),
    "a manifest of another schema": (
        AdapterFault.DAMAGED,
        lambda f: change(f, "lanai.json", schema="lanai.adapter/9"),
    ),
    "a manifest with a key too many": (
        AdapterFault.DAMAGED,
        lambda f: change(f, "lanai.json", x=1),
    ),
    "a manifest whose base is a text": (
        AdapterFault.DAMAGED,
        lambda f: change(f, "lanai.json", base="llama"),
    ),
    "another family": (
        AdapterFault.WRONG_BASE,
        lambda f: change(f, "lanai.json", base={"name": "g", "architecture": "gemma3"}),
    ),
    "a shape of another base": (
        AdapterFault.SHAPE,
        lambda f: resave(f, lambda t: t.update({KEY: np.zeros((4, 64), "f4")})),
    ),
    "a layer too many": (
        AdapterFault.SHAPE,
        lambda f: resave(f, lambda t: t.update({KEY.replace(".0.", ".7."): t[KEY]})),
    ),
    "a module that cannot be changed": (
        AdapterFault.TARGET,
        lambda f: resave(f, lambda t: t.update({KEY.replace("q_proj", "lm_head"): t[KEY]})),
    ),
    "half a pair": (AdapterFault.DAMAGED, lambda f: resave(f, lambda t: t.pop(KEY))),
    "nothing": (AdapterFault.DAMAGED, lambda f: resave(f, lambda t: t.clear())),
    "NaN": (
        AdapterFault.NOT_FINITE,
        lambda f: resave(f, lambda t: t.update({KEY: np.full_like(t[KEY], np.nan)})),
    ),
    "8 bits without scales": (
        AdapterFault.DAMAGED,
        lambda f: resave(f, lambda t: t.update({KEY: np.ones((4, 72), "i1")})),
    ),
    "scales of nothing": (
        AdapterFault.DAMAGED,
        lambda f: resave(f, lambda t: t.update({"x.scale": np.ones(4, "<u2")})),
    ),
    "whole numbers": (
        AdapterFault.DAMAGED,
        lambda f: resave(f, lambda t: t.update({KEY: np.ones((4, 72), "u2")})),
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_refused(folder: Path, what: str) -> None:
    """Each fault has its word and a hint."""
    fault, spoil = WRONG[what]
    spoil(folder)
    assert refused(folder) is fault


def test_numbers_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    """Nor those beyond half precision, in 16 bits."""
    adapter = random_adapter(CONFIG, strength=1e6)
    manifest = AdapterManifest(name="x", base=Base(name="t", architecture="llama"))
    with pytest.raises(AdapterError):
        write_adapter(tmp_path / "x", adapter, manifest, 16)


def test_a_base_is_known_by_digest_or_by_name(tmp_path: Path) -> None:
    """By digest where the manifest has one; a packed model goes by its source's too."""
    model = tmp_path / "small"
    model.mkdir()
    source = f"packed:Big-1@sha256:{'b' * 64}"
    facts = {"name": "small", "sha256": "a" * 64, "source": source}
    (model / "lanai.json").write_text(json.dumps(facts))
    base = base_model_at(model)
    for number, digest in enumerate(("a", "b")):
        known = Base(name="whatever", architecture="llama", sha256=digest * 64)
        write_random_adapter(tmp_path / str(number), CONFIG, base=known)
        read_adapter(tmp_path / str(number), CONFIG, base=base)
    other = Base(name="small", architecture="llama", sha256="c" * 64)
    write_random_adapter(tmp_path / "other", CONFIG, base=other)
    assert refused(tmp_path / "other", base) is AdapterFault.WRONG_BASE
    change(tmp_path / "other", "lanai.json", base={"name": "small", "architecture": "llama"})
    read_adapter(tmp_path / "other", CONFIG, base=base)
    (tmp_path / "other" / "lanai.json").unlink()
    for name, fits in (("org/big_1", True), ("org/Big-2", False)):
        change(tmp_path / "other", "adapter_config.json", base_model_name_or_path=name)
        if fits:
            read_adapter(tmp_path / "other", CONFIG, base=base)
        else:
            assert refused(tmp_path / "other", base) is AdapterFault.WRONG_BASE


@pytest.mark.parametrize("name", ["", "..", ".hidden", "a/b", "A", "x" * 65, "a\n"])
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    """A name is a folder's and nothing more."""
    with pytest.raises(UsageError):
        check_name(name)
