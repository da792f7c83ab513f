"""What the search of one surface found: counts and places, never the bytes themselves."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from cloud_node.audit.search import Searcher

__all__ = ["Findings"]

SHOWN: Final = 20
_Place = tuple[str, str, int]
"""Where, in which form, at which byte the whole would begin."""


@dataclass(slots=True)
class Findings:
    """Grows while a surface is searched. Windows of one whole count as one hit."""

    bytes_searched: int = 0
    _labels: dict[_Place, str | None] = field(default_factory=dict)

    def take(
        self, searcher: Searcher, data: bytes | bytearray | memoryview, *, at: int, where: str
    ) -> None:
        """Search one piece, which lies ``at`` bytes into ``where``."""
        view = memoryview(data)
        self.bytes_searched += len(view)
        for hit in searcher.search(view):
            needle = searcher.needles[hit.needle]
            place = where, needle.form, at + hit.start - needle.before
            self._labels[place] = self._labels.get(place) or searcher.label(view, hit)

    @property
    def hits(self) -> int:
        return len(self._labels)

    @property
    def forms(self) -> frozenset[str]:
        return frozenset(form for _, form, _ in self._labels)

    @property
    def labels(self) -> frozenset[str]:
        """The marks that could be named."""
        return frozenset(label for label in self._labels.values() if label)

    def places(self) -> list[dict[str, Any]]:
        """Where, in which form and which mark, the most frequent first; for people and JSON."""
        counted = Counter((where, form, label) for (where, form, _), label in self._labels.items())
        return [
            {"where": where, "form": form, "mark": label, "count": count}
            for (where, form, label), count in counted.most_common(SHOWN)
        ]
