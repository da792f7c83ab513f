"""The features for code without async, over ``Agent`` or its ``Session``. No logic of its own.

    from device_agent.features import blocking as features
    features.summarize(agent, text)

Each is handed to the agent's own event loop and awaited there: one code path.
"""

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from device_agent import features
from device_agent.blocking import Agent, Session
from device_agent.features.asking import Where

__all__ = ["extract", "prioritize", "proofread", "rewrite", "suggest_action", "summarize"]

P = ParamSpec("P")
T = TypeVar("T")


def _blocking(
    feature: Callable[Concatenate[Where, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Agent | Session, P], T]:
    @wraps(feature)
    def run(where: Agent | Session, /, *args: P.args, **kwargs: P.kwargs) -> T:
        there: Where = where._agent if isinstance(where, Agent) else where._session
        return where._portal.call(feature(there, *args, **kwargs))

    return run


extract: Final = _blocking(features.extract)
prioritize: Final = _blocking(features.prioritize)
proofread: Final = _blocking(features.proofread)
rewrite: Final = _blocking(features.rewrite)
suggest_action: Final = _blocking(features.suggest_action)
summarize: Final = _blocking(features.summarize)
