"""A profile as one page to look around in: its script is in it, nothing is fetched."""

from importlib.resources import files
from pathlib import Path

from inference.packing.body import BODY
from inference.profiling.records import Profile
from lanai.errors import UsageError

__all__ = ["write_page"]


def write_page(profile: Profile, path: Path) -> None:
    """Write the page. Raises ``UsageError`` when the file cannot be written."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = files("inference.profiling").joinpath("page.html.jinja").read_text(encoding="utf-8")
    whole = environment.from_string(template).render(
        profile=profile,
        data=profile.to_json(),
        parts=[name for names in BODY.values() for name in names],
    )
    try:
        path.write_text(whole, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from None
