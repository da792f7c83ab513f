"""The policy file: strict, with a digest, and errors that name line and key."""

from importlib import resources

import pytest

from lanai.errors import ConfigError
from router import DataClass, Policy

SHIPPED = resources.files("router").joinpath("default_policy.toml").read_text(encoding="utf-8")


def test_the_shipped_policy_loads_and_holds_nothing_back():
    """Silence is consent for public and personal data only; no draft is buffered."""
    policy = Policy.load()
    assert policy.consent_assumed_for == {DataClass.PUBLIC, DataClass.PERSONAL}
    assert policy.early_decode_tokens == 0


def test_the_digest_is_of_the_values_not_of_the_text():
    """Comments and order change nothing; one value changes it."""
    plain = Policy.parse(SHIPPED)
    reworded = "\n".join(line for line in SHIPPED.splitlines() if not line.startswith("#"))
    changed = SHIPPED.replace("window = 8", "window = 9")
    assert plain.digest == Policy.parse(reworded).digest
    assert plain.digest != Policy.parse(changed).digest
    assert len(plain.digest) == 64


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("window = 8", "window = 8\nwidnow = 9", "early_decode.widnow"),
        ("window = 8", "window = true", "early_decode.window"),
        ("window = 8", "window = 0", "early_decode.window"),
        ("window = 8", "", "early_decode.window"),
        ("window = 8", "window = 8\nentropy_above = 3.0", "early_decode.entropy_above"),
        ("tokens = 0", "tokens = 16", "early_decode.tokens"),
        ("tokens = 0", "tokens = 4\nentropy_above = 3.0", "early_decode.window"),
        ("look_from_benefit = -1.0", "look_from_benefit = 0.9", "early_decode.look_from_benefit"),
        ("look_from_benefit = -1.0", "look_from_benefit = nan", "early_decode.look_from_benefit"),
        ('"personal"]', '"secret"]', "consent.assumed_for"),
        ('"personal"]', '"privat"]', "consent.assumed_for"),
        ("[prefill]", "[extra]\nkey = 1\n\n[prefill]", "extra"),
        ("lanai.policy/1", "lanai.policy/2", "schema"),
    ],
)
def test_a_wrong_policy_is_refused_by_line_and_key(before, after, named):
    """Unknown keys, wrong types, ranges and contradictions each name the line that is at fault."""
    text = SHIPPED.replace(before, after, 1)
    assert text != SHIPPED
    with pytest.raises(ConfigError) as caught:
        Policy.parse(text, name="my.toml")
    assert named in caught.value.message
    line = int(caught.value.message.partition("line ")[2].partition(":")[0])
    leaf = named.rpartition(".")[2]
    faulty = text.splitlines()[line - 1]
    assert leaf in faulty or faulty.startswith("["), faulty


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        (
            "[session]",
            "[ costs ]  # mine\nweight = 0\nmoney_per_request = 1\n[session]",
            "weight = 0",
        ),
        ("[session]", "[costs]\n'weight' = 0\nmoney_per_request = 1\n[session]", "'weight'"),
        ("[consent]", "hedge = { within = 2.0 }\n[consent]", "hedge = "),
        ("[consent]", "hedge.within = 2.0\n[consent]", "hedge.within"),
        ("[consent]", "hedge = { 'off\\n' = 1 }\n[consent]", "hedge = "),
        ('["public", "personal"]', '[\n  "public",\n  # why\n\n  "secret",\n]', "assumed_for"),
        ('schema = "lanai', 'schema = """\n\nlanai', "schema"),
        ("window = 8", "window = 8\r\n\r\nwidow = 9", "widow"),
        ("[session]", "[[hedge]]\nwithin = 0.1\n[session]", "[[hedge]]"),
    ],
)
def test_the_line_is_named_however_it_is_written(before, after, named):
    """Comments behind a header, quotes, inline tables, dotted keys, values over several lines."""
    text = SHIPPED.replace(before, after, 1)
    text = text if '"""' not in after else text.replace('policy/1"', 'policy/1"""', 1)
    with pytest.raises(ConfigError) as caught:
        Policy.parse(text, name="my.toml")
    line = int(caught.value.message.partition("line ")[2].partition(":")[0])
    assert text.split("\n")[line - 1].startswith(named), caught.value.message


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000,
        "# long\n" * 20_000,
        "a = 1" + "0" * 5000,
        SHIPPED.replace("window = 8", "window = 8" + "0" * 400),
        SHIPPED.replace("look_from_benefit = -1.0", "look_from_benefit = -1" + "0" * 400),
    ],
)
def test_a_text_that_no_policy_is_that_long_or_deep_is_refused(text, tmp_path):
    """Before it costs memory, and with an error of the configuration."""
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        Policy.load(path)


def test_text_that_is_no_toml_names_the_line():
    """The parser's own position is passed on."""
    with pytest.raises(ConfigError, match="line 2"):
        Policy.parse("schema = 1\n= 3")


def test_a_missing_policy_file_is_a_configuration_error(tmp_path):
    """Never the shipped policy in its place."""
    with pytest.raises(ConfigError, match="cannot read the policy"):
        Policy.load(tmp_path / "absent.toml")


def test_a_policy_built_in_code_is_checked_too(make_policy):
    """A contradiction is refused wherever it comes from."""
    with pytest.raises(ConfigError, match="secret"):
        make_policy(consent_assumed_for=frozenset({DataClass.SECRET}))
