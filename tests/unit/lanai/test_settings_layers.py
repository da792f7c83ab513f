"""Settings: flags > environment > ./lanai.toml > the user's file > defaults."""

from pathlib import Path

import pytest

from lanai.errors import ConfigError
from lanai.folders import Folders
from lanai.settings import Settings


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders.below(tmp_path / "home")
    made.config.mkdir(parents=True)
    return made


def test_each_layer_beats_the_one_below(folders: Folders, tmp_path: Path) -> None:
    """The same key set in every layer takes the uppermost; its origin is told."""
    (folders.config / "lanai.toml").write_text("device_threads = 1\ntoken_batch = 5\n")
    (tmp_path / "lanai.toml").write_text("device_threads = 3\n")
    loaded = Settings.load(
        environ={"LANAI_MAX_OUTPUT_TOKENS": "40", "LANAI_DEVICE_THREADS": "4"},
        flags={"device_threads": 6, "mode": None},
        folders=folders,
        working_folder=tmp_path,
    )
    assert loaded.settings.device_threads == 6
    assert loaded.origins["device_threads"] == "flag"
    assert loaded.settings.max_output_tokens == 40
    assert loaded.origins["max_output_tokens"] == "environment"
    assert loaded.settings.token_batch == 5
    assert loaded.origins["token_batch"].endswith("home/config/lanai.toml")
    assert loaded.origins["mode"] == "default"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("colour = 1", "unknown setting 'colour'"),
        ("device_threads = 0", "setting 'device_threads'"),
        ("device_threads = ", "cannot read"),
    ],
)
def test_a_bad_file_is_one_clear_error(
    folders: Folders, tmp_path: Path, content: str, message: str
) -> None:
    """Unknown keys, bad values and broken TOML are ConfigErrors with a hint."""
    (tmp_path / "lanai.toml").write_text(content)
    with pytest.raises(ConfigError, match=message) as raised:
        Settings.load(environ={}, folders=folders, working_folder=tmp_path)
    assert raised.value.hint
    assert raised.value.exit_code == 2


def test_an_unknown_environment_key_is_an_error(folders: Folders, tmp_path: Path) -> None:
    """A misspelled LANAI_ variable is refused instead of ignored."""
    with pytest.raises(ConfigError, match="unknown setting 'devise_threads'"):
        Settings.load(
            environ={"LANAI_DEVISE_THREADS": "2"}, folders=folders, working_folder=tmp_path
        )


@pytest.mark.parametrize(
    ("given", "origins"),
    [("", ()), ("http://a", ("http://a",)), ("http://a,http://b:1", ("http://a", "http://b:1"))],
)
def test_a_list_in_the_environment_is_words_between_commas(
    folders: Folders, tmp_path: Path, given: str, origins: tuple[str, ...]
) -> None:
    """In a file it is a list."""
    environ = {"LANAI_SERVE_ORIGINS": given}
    loaded = Settings.load(environ=environ, folders=folders, working_folder=tmp_path)
    assert loaded.settings.serve_origins == origins
    (tmp_path / "lanai.toml").write_text(f"serve_origins = {list(origins)!r}\n")
    loaded = Settings.load(environ={}, folders=folders, working_folder=tmp_path)
    assert loaded.settings.serve_origins == origins


def test_the_folders_of_one_home(tmp_path: Path) -> None:
    """LANAI_HOME moves every folder below one place."""
    found = Folders.standard({"LANAI_HOME": str(tmp_path)})
    assert {found.models.parent, found.state.parent, found.config.parent} == {tmp_path}
