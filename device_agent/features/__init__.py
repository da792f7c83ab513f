"""What apps do with text, each a small function over an agent or a session.

    from device_agent import features

    summary = await features.summarize(agent, text, length="bullets")
    print(summary.text, summary.source, summary.decision)

Trusts what `device_agent` trusts: each request is an ordinary one, with its rules, hooks, ledger
and traces. Refuses to take a model's word for what can be counted: places of changes, what is
quoted, how a list is formed. `device_agent.features.blocking` has the same for code without async.
How good the default device model is at each: ``docs/features.md``.
"""

from device_agent.features.asking import Featured, Where
from device_agent.features.changes import Change
from device_agent.features.extracting import Extracted, extract
from device_agent.features.prioritizing import (
    Notification,
    Prioritized,
    Priority,
    Ranked,
    prioritize,
)
from device_agent.features.proofreading import Proofread, Scope, proofread
from device_agent.features.result import Result
from device_agent.features.rewriting import Rewritten, Tone, rewrite
from device_agent.features.suggesting import Suggestion, suggest_action
from device_agent.features.summarizing import Length, Summary, summarize

__all__ = [
    "Change",
    "Extracted",
    "Featured",
    "Length",
    "Notification",
    "Prioritized",
    "Priority",
    "Proofread",
    "Ranked",
    "Result",
    "Rewritten",
    "Scope",
    "Suggestion",
    "Summary",
    "Tone",
    "Where",
    "extract",
    "prioritize",
    "proofread",
    "rewrite",
    "suggest_action",
    "summarize",
]
