"""The check that Lanai ships: does a prompt ask for harm?

It goes by words, has been fitted to a few hundred English prompts, and is easily talked around:
a net with holes, to be used beside a model that was taught to refuse, never in its place. How much
it finds and how much good it refuses is measured in docs/guardrails.md.
"""

from functools import cached_property
from typing import TYPE_CHECKING

from device_agent.guardrails.verdict import PASSES, Verdict
from lanai.content import Content
from lanai.errors import Concern

if TYPE_CHECKING:
    from device_agent.guardrails.harm_model import HarmModel

__all__ = ["HarmCheck"]

_HARM = Verdict(concern=Concern.HARM)


class HarmCheck:
    """An input check. The weights are read at the first prompt.

    ``threshold``: of the logit; higher refuses less. Unset: the measured one.
    """

    def __init__(self, *, threshold: float | None = None) -> None:
        self._threshold = threshold

    def __call__(self, text: Content, /) -> Verdict:
        limit = self._model.threshold if self._threshold is None else self._threshold
        return _HARM if self._model.logit(text) > limit else PASSES

    @cached_property
    def _model(self) -> "HarmModel":
        from device_agent.guardrails.harm_model import shipped_harm_model

        return shipped_harm_model()
