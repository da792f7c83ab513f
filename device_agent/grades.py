"""Somebody's word on an answer, given afterwards: kept with its decision, and learned from.

It says right or wrong, never what was asked or answered. Grades watch the bound of regret: one that
graded requests refute is claimed no more (`router.grades`). Ask for them at random, not where
somebody complained: a bound is about requests as they come.
"""

from device_agent.remembering import Memory
from device_agent.traces import TraceStore
from lanai.errors import TraceError, UsageError
from router import Decision, Router
from router.recorded import Graded
from router.refusal import Refusal, read_record

__all__ = ["grade"]


def grade(
    store: TraceStore | None, memory: Memory, router: Router, trace_id: str, graded: Graded
) -> Decision:
    """The decision with the grade; ``trace_id`` may be the start of one. Blocks on a file.

    Raises ``TraceError`` where the trace or its decision is not there, ``UsageError`` for a second
    grade and for one that says nothing.
    """
    if graded.device_good is None and graded.cloud_good is None:
        raise UsageError("a grade says right or wrong of one side at least")
    if store is None:
        raise TraceError("there is no trace store to look in", hint="see `lanai doctor`")
    found = store.find(trace_id)
    before = read_record(store.decision(found.trace_id))
    if isinstance(before, Refusal):
        raise UsageError("this request ran nowhere: there is no answer to grade")
    if before.graded is not None:
        raise UsageError("this request was graded already", hint="a grade counts once")
    decision = before.judged(graded)
    store.amend(found.trace_id, decision.to_json_dict())
    memory.note_grade(decision, router)
    return decision
