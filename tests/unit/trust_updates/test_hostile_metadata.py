"""Metadata of any bytes: refused with a reason of the closed list, and no other error."""

import json
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from securesystemslib.exceptions import FormatError
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Root, Snapshot, Targets, Timestamp

from lanai.errors import StoreError, TrustRootRejected
from trust.updates import TrustState
from trust.updates.metadata import open_first_root, open_next_root, open_signed, target_path

KINDS = {"root": Root, "targets": Targets, "snapshot": Snapshot, "timestamp": Timestamp}
ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["2030-01-01T00:00:00Z", "sha256", "targets.json", "1.0.31"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=6,
)
bounded = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def paths(value: object, at: tuple = ()) -> list[tuple]:
    """The way to every value inside a JSON value."""
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    return [at, *(path for key, inner in items for path in paths(inner, (*at, key)))]


def with_value(value: object, path: tuple, new: object) -> object:
    if not path:
        return new
    copy = json.loads(json.dumps(value))
    inner = copy
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = new
    return copy


def read_all(data: bytes, root: Root) -> None:
    """Every reader on the same bytes; only its own error may come out."""
    with suppress(TrustRootRejected):
        open_first_root(data)
    with suppress(TrustRootRejected):
        open_next_root(data, root)
    for kind in KINDS.values():
        with suppress(TrustRootRejected):
            open_signed(kind, data, root)


@pytest.fixture
def known(repository) -> Root:
    return open_first_root(repository.files["1.root.json"])


@bounded
@given(data=st.binary(max_size=200))
def test_any_bytes(known, data) -> None:
    """Noise."""
    read_all(data, known)


@bounded
@given(data=st.data())
def test_one_value_replaced(repository, known, data) -> None:
    """Real metadata with any one value replaced by something odd."""
    name = data.draw(st.sampled_from(sorted(p for p in repository.files if "/" not in p)))
    value = json.loads(repository.files[name])
    path = data.draw(st.sampled_from(paths(value)))
    read_all(json.dumps(with_value(value, path, data.draw(ODD))).encode(), known)


@bounded
@given(new=ODD, data=st.data())
def test_rightly_signed_nonsense(repository, known, new, data) -> None:
    """A root whose own keys sign an odd value: nobody else vouches for it, so it is read early."""
    value = json.loads(repository.files["1.root.json"])["signed"]
    path = data.draw(st.sampled_from(paths(value)[1:]))
    odd = with_value(value, path, new)
    try:
        signed = encode_canonical(odd).encode()
    except (FormatError, UnicodeEncodeError):
        signed = b""
    signatures = [signer.sign(signed).to_dict() for signer in repository.keys["root"]]
    read_all(json.dumps({"signatures": signatures, "signed": odd}).encode(), known)


@bounded
@given(digest=st.text(max_size=80))
def test_a_target_of_any_hash(repository, known, digest) -> None:
    """The name of a target's file never leaves its folder."""
    targets = open_signed(
        Targets,
        repository.files["1.targets.json"],
        open_first_root(repository.files["1.root.json"]),
    )
    named = targets.targets["trust-root.json"]
    named.hashes["sha256"] = digest
    with suppress(TrustRootRejected):
        assert target_path(named) == f"targets/{digest}.trust-root.json"
        assert "/" not in digest


@bounded
@given(data=st.data())
def test_a_state_of_any_values(device, data) -> None:
    """The device's own file, damaged anywhere: an error of ours, or a state."""
    value = json.loads(device.path.read_bytes())
    path = data.draw(st.sampled_from(paths(value)))
    with suppress(StoreError):
        TrustState.from_bytes(json.dumps(with_value(value, path, data.draw(ODD))).encode())
