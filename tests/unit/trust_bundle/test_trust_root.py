"""The trust root: what it accepts, and which device may use it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from lanai.errors import Rejection, TrustRootRejected
from trust.attestation import AllOf, AnyOf, One, UnsafeSoftwarePolicy
from trust.attestation.policy import LEAVES
from trust.log.notes import NoteSigner
from trust.root import Endpoint, TrustRoot
from trust.testing import UnsafeTrustWorld


@dataclass(frozen=True)
class ImaginedPolicy:
    """A kind of evidence that is not unsafe, and that nobody can present."""

    kind: ClassVar[str] = "imagined"
    unsafe: ClassVar[bool] = False

    def verifier(self) -> Any:
        raise AssertionError("no test presents this evidence")

    def to_json(self) -> dict[str, object]:
        return {}

    @classmethod
    def from_json(cls, value: dict[str, object]) -> Self:
        return cls(**value)


LEAVES[ImaginedPolicy.kind] = ImaginedPolicy
WORLD = UnsafeTrustWorld(now=1_700_000_000)
ROOT = WORLD.root
SAFE = One(ImaginedPolicy())
PRODUCTION = replace(ROOT, profile="production", evidence=SAFE)


def elsewhere(address: str) -> Endpoint:
    return replace(ROOT.relay, address=address)


def refusal(call: Callable[[], object]) -> TrustRootRejected:
    with pytest.raises(TrustRootRejected) as caught:
        call()
    return caught.value


def test_the_file_form_round_trips() -> None:
    """Reading what was written gives the same root and the same policy digest."""
    again = TrustRoot.from_json(ROOT.to_json())
    assert again == ROOT
    assert again.policy_digest == ROOT.policy_digest
    assert len(ROOT.policy_digest) == 32


def test_layout_and_order_do_not_change_the_policy() -> None:
    """The digest is over the canonical form, not over the file."""
    shuffled = dict(reversed(json.loads(ROOT.to_json()).items()))
    assert TrustRoot.from_json(json.dumps(shuffled)).policy_digest == ROOT.policy_digest


def test_every_value_is_in_the_policy_digest() -> None:
    """Changing any one value changes the digest."""
    others = [
        PRODUCTION,
        replace(ROOT, relay=elsewhere("127.0.0.1:9")),
        replace(ROOT, issuer=elsewhere("127.0.0.1:9")),
        replace(ROOT, token_challenge="01"),
        replace(ROOT, log_origin="other"),
        replace(ROOT, quorum=1),
        replace(ROOT, witnesses=ROOT.witnesses[:2]),
        replace(ROOT, checkpoint_max_age_s=1),
        replace(ROOT, node_max_lifetime_s=1),
        replace(ROOT, key_max_lifetime_s=1),
        replace(ROOT, evidence=One(UnsafeSoftwarePolicy(()))),
        replace(ROOT, evidence=AllOf(ROOT.evidence)),
        replace(ROOT, evidence=AnyOf(ROOT.evidence)),
    ]
    digests = {root.policy_digest for root in (ROOT, *others)}
    assert len(digests) == len(others) + 1


def test_profiles_are_kept_apart() -> None:
    """A pinned profile takes only its own roots; none pinned takes either."""
    ROOT.admit(None)
    ROOT.admit("development")
    PRODUCTION.admit(None)
    PRODUCTION.admit("production")
    assert refusal(lambda: ROOT.admit("production")).reason is Rejection.PROFILE
    assert refusal(lambda: PRODUCTION.admit("development")).reason is Rejection.PROFILE


@pytest.mark.parametrize("keys", [(), ("ab" * 32,)])
def test_production_takes_nothing_unsafe(keys: tuple[str, ...]) -> None:
    """An unsafe kind anywhere in the policy, with or without keys, refuses the root."""
    unsafe = One(UnsafeSoftwarePolicy(keys))
    for policy in (unsafe, AllOf(SAFE, unsafe), AnyOf(SAFE, unsafe), AllOf(SAFE, AnyOf(unsafe))):
        root = replace(PRODUCTION, evidence=policy)
        for profile in (None, "production"):
            error = refusal(lambda root=root, profile=profile: root.admit(profile))
            assert error.reason is Rejection.KIND_NOT_ACCEPTED


@pytest.mark.parametrize(
    "address", ["192.0.2.1:443", "node.example:443", "localhost:443", "[2001:db8::1]:443"]
)
def test_development_stays_on_this_machine(address: str) -> None:
    """A relay or issuer elsewhere, or behind a name, refuses a development root."""
    for root in (
        replace(ROOT, relay=elsewhere(address)),
        replace(ROOT, issuer=elsewhere(address)),
    ):
        assert refusal(lambda root=root: root.admit(None)).reason is Rejection.NOT_LOOPBACK
    replace(PRODUCTION, relay=elsewhere(address)).admit(None)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.9.9.9:65535", "[::1]:443"])
def test_loopback_addresses(address: str) -> None:
    """Every spelling of this machine is fine in development."""
    replace(ROOT, relay=elsewhere(address)).admit("development")


@pytest.mark.parametrize(
    "address", ["", "host", "host:", "host:0", "host:65536", "host:1:2", "::1:5", "a b:1", "h:1\n"]
)
def test_addresses_are_host_and_port(address: str) -> None:
    """Anything else is refused when the root is read."""
    values = json.loads(ROOT.to_json())
    values["relay"]["address"] = address
    assert refusal(lambda: TrustRoot.from_json(json.dumps(values))).reason is Rejection.MALFORMED


@pytest.mark.parametrize(
    "change",
    [
        {"quorum": 0},
        {"quorum": 4},
        {"quorum": True},
        {"quorum": 2.0},
        {"profile": "staging"},
        {"schema": "lanai.trust-root/1"},
        {"unknown": 1},
        {"witnesses": []},
        {"witnesses": [*ROOT.witnesses, ROOT.witnesses[0]]},
        {"witnesses": [ROOT.log_key, *ROOT.witnesses]},
        {"witnesses": "not a list"},
        {"log_key": ROOT.witnesses[0]},
        {"log_key": "name+00000000+AAAA"},
        {"log_origin": ""},
        {"token_challenge": "0"},
        {"token_challenge": "GG"},
        {"token_challenge": None},
        {"checkpoint_max_age_s": 0},
        {"node_max_lifetime_s": 10**12},
        {"evidence": None},
        {"evidence": {}},
        {"evidence": {"kind": "unheard_of"}},
        {"evidence": {"kind": "unsafe_software"}},
        {"evidence": {"kind": "unsafe_software", "keys": ["00"]}},
        {"evidence": {"kind": "unsafe_software", "keys": [], "more": 1}},
        {"evidence": {"all_of": []}},
        {"evidence": {"any_of": [{"kind": "imagined"}], "all_of": [{"kind": "imagined"}]}},
        {"evidence": {"none_of": [{"kind": "imagined"}]}},
        {"evidence": {"all_of": [{"kind": "imagined"}] * 9}},
        {"relay": {"address": "127.0.0.1:1"}},
        {"relay": {"address": "127.0.0.1:1", "certificate": "no PEM"}},
        {"relay": None},
    ],
)
def test_bad_values_are_refused(change: dict[str, Any]) -> None:
    """A wrong type, range, key or extra key refuses the whole file."""
    text = json.dumps({**json.loads(ROOT.to_json()), **change})
    assert refusal(lambda: TrustRoot.from_json(text)).reason is Rejection.MALFORMED


@pytest.mark.parametrize("name", sorted(json.loads(ROOT.to_json())))
def test_no_key_may_be_missing(name: str) -> None:
    """There are no defaults in a trust root."""
    values = json.loads(ROOT.to_json())
    del values[name]
    assert name in refusal(lambda: TrustRoot.from_json(json.dumps(values))).message


def test_a_repeated_key_is_refused() -> None:
    """The second of two equal keys does not win silently."""
    text = ROOT.to_json().replace('"quorum": 2,', '"quorum": 2, "quorum": 1,')
    assert refusal(lambda: TrustRoot.from_json(text)).reason is Rejection.MALFORMED


def test_one_witness_counts_once() -> None:
    """One key under two names, or the log's own key, cannot fill the quorum."""
    key = Ed25519PrivateKey.generate()
    twice = tuple(NoteSigner.cosigner(name, key).vkey for name in ("one", "two"))
    for witnesses in (twice, (*ROOT.witnesses, NoteSigner.cosigner(WORLD.origin, key).vkey)):
        assert refusal(lambda w=witnesses: replace(ROOT, witnesses=w)).reason is Rejection.MALFORMED


def test_roots_made_in_code_are_checked_too() -> None:
    """The constructor refuses what the file reader refuses."""
    assert refusal(lambda: replace(ROOT, quorum=99)).reason is Rejection.MALFORMED
    assert refusal(lambda: replace(ROOT, token_challenge="xyz")).reason is Rejection.MALFORMED


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=8,
)


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(sorted(json.loads(ROOT.to_json()))),
    JSON,
    st.text(st.characters(exclude_categories=()), max_size=200),
)
def test_only_root_errors_come_out(name: str, value: object, text: str) -> None:
    """Arbitrary text, and arbitrary values under known keys, are refused as trust root errors."""
    changed = json.dumps({**json.loads(ROOT.to_json()), name: value})
    for tried in (text, changed, "[" * 100_000):
        try:
            TrustRoot.from_json(tried)
        except TrustRootRejected:
            continue
