"""Guardrails: small checks of what goes in and what comes out, with a typed refusal.

    session = agent.session(guardrails=Guardrails(input=(HarmCheck(), my_check)))

A check is any function of one text that returns a ``Verdict``. An input check runs before a prompt
is rendered or routed, so that nothing it refuses ever leaves the device; an output check before a
piece of the answer is shown. A refusal is ``lanai.errors.Refused`` with a word of a closed list.

Trusts the app's checks to be what the app wants. Refuses to let a text through when a check raises
or returns something else than a ``Verdict``. ``HarmCheck`` is a small classifier of text: what it
finds and what it misses is measured in docs/guardrails.md.
"""

from device_agent.guardrails.guarding import UNGUARDED, Guardrails
from device_agent.guardrails.harm import HarmCheck
from device_agent.guardrails.verdict import PASSES, Check, Verdict, refused
from lanai.settings import Settings

__all__ = [
    "PASSES",
    "UNGUARDED",
    "Check",
    "Guardrails",
    "HarmCheck",
    "Verdict",
    "guardrails_of",
    "refused",
]


def guardrails_of(settings: Settings) -> Guardrails:
    """What sessions are guarded by where the app says nothing."""
    return Guardrails(input=(HarmCheck(),)) if settings.guard_prompts else UNGUARDED
