"""Notices, on the device, what a text holds that should not be taken for public.

Kinds are told, never places or values. A finding raises a request's data class where the policy
says so, and can lower nothing. It is a net with holes: what an app knows to be secret it must say.

Cards, account numbers and national numbers are checked by `python-stdnum` (check digits),
credentials by the patterns of `detect-secrets`; both are pure Python and run offline. Names,
contacts and health are a few patterns of our own: a model that recognizes names costs more than
the router may (docs/router.md has what was measured).
"""

import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from router.vocabulary import Finding

__all__ = ["Detector", "Noticed", "PatternDetector"]

CARD = re.compile(r"(?<![\d.])(?:1800|[2-6]\d{3})(?:[ -]?\d){9,15}(?![\d.]\d|\d)")
IBAN = re.compile(
    r"\b[A-Za-z]{2}\d{2}(?:[A-Za-z0-9]{11,30}|(?: [A-Za-z0-9]{4}){2,7}(?: [A-Za-z0-9]{1,3})?)\b"
)
NATIONAL: Mapping[str, re.Pattern[str]] = {
    "us.ssn": re.compile(r"\b\d{3}-\d{2}-\d{4}\b"),
    "br.cpf": re.compile(r"\b\d{3}\.\d{3}\.\d{3}-\d{2}\b"),
    "es.dni": re.compile(r"\b\d{8}-?[A-Z]\b"),
    "es.nie": re.compile(r"\b[XYZ]-?\d{7}-?[A-Z]\b"),
    "fr.nir": re.compile(r"\b[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}\b"),
    "it.codicefiscale": re.compile(r"\b[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z]\b"),
    "se.personnummer": re.compile(r"\b(?:\d{2})?\d{6}[-+]\d{4}\b"),
}
CREDENTIAL_PLUGINS: Mapping[str, str] = {
    "artifactory": "ArtifactoryDetector",
    "aws": "AWSKeyDetector",
    "azure_storage_key": "AzureStorageKeyDetector",
    "basic_auth": "BasicAuthDetector",
    "discord": "DiscordBotTokenDetector",
    "github_token": "GitHubTokenDetector",
    "gitlab_token": "GitLabTokenDetector",
    "jwt": "JwtTokenDetector",
    "mailchimp": "MailchimpDetector",
    "npm": "NpmDetector",
    "openai": "OpenAIDetector",
    "private_key": "PrivateKeyDetector",
    "pypi_token": "PypiTokenDetector",
    "sendgrid": "SendGridDetector",
    "slack": "SlackDetector",
    "square_oauth": "SquareOAuthDetector",
    "stripe": "StripeDetector",
    "telegram_token": "TelegramBotTokenDetector",
    "twilio": "TwilioKeyDetector",
}
"""Of `detect-secrets`; those that go by entropy or by a variable's name mark ordinary prose."""

_PASSWORD = re.compile(
    r"\b(?:pass(?:word|wd|phrase|code)|api[ _-]?key|secret[ _-]?key|access[ _-]?token|pin code)\b"
    r"\s*(?:is|:|=|are)\s*[\"'“]?(?=\S*[\d!@#$%^&*_])\S{4,}",
    re.IGNORECASE,
)
_TOKEN = re.compile(r"\bsk-[A-Za-z0-9_-]{20,}\b|\bgithub_pat_\w{22,}\b|\bhf_[A-Za-z0-9]{30,}\b")
_PLAIN: Mapping[Finding, tuple[re.Pattern[str], ...]] = {
    Finding.CREDENTIAL: (_PASSWORD, _TOKEN),
    Finding.CONTACT: (
        re.compile(r"[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63})+"),
        re.compile(r"(?<![\w.])\+\d{1,3}[ .-]?\(?\d{1,4}\)?(?:[ .-]?\d{2,4}){2,4}(?![\w])"),
        re.compile(r"(?<![\w.-])\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}(?![\w-])"),
    ),
    Finding.NAME: (
        re.compile(r"\b[Mm]y (?:full )?name(?:'s| is) [A-Z]\w+"),
        re.compile(r"\b(?:I am|I'm|[Tt]his is) [A-Z]\w+ [A-Z]\w+"),
        re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof)\.? [A-Z]\w+"),
    ),
    Finding.HEALTH: (
        re.compile(
            r"\b(?:diagnos(?:ed|is)|prescri(?:bed|ption)|symptoms?|chemotherapy|biopsy|oncolog\w+|"
            r"psychiatr\w+|antidepressants?|depress(?:ed|ion)|HIV|diabet\w+|miscarriage|pregnan\w+|"
            r"blood (?:test|pressure)|medical (?:record|history)|therapist|insulin)\b",
            re.IGNORECASE,
        ),
    ),
}
_ABOUT_SOMEBODY = re.compile(
    r"\b(?:I|I'm|I've|me|my|we|our|patient|husband|wife|son|daughter|mother|father|mom|dad)\b",
    re.IGNORECASE,
)
"""Health counts where it is somebody's; a question about an illness is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Noticed:
    """The kinds found, each once, and what looking took; ``None`` where nobody looked."""

    found: tuple[Finding, ...]
    us: float | None


class Detector(Protocol):
    def notice(self, texts: Iterable[str]) -> Noticed:
        """Look at every text of a request. Called from a thread; keeps nothing."""


class PatternDetector:
    """Libraries are imported at the first text, or by ``warm``; that takes some 0.1 s, once."""

    def warm(self) -> None:
        """Import now, from a thread, what the first request would wait for."""
        self.notice(("",))

    def notice(self, texts: Iterable[str]) -> Noticed:
        began = time.perf_counter()
        found = {kind for text in texts for kind in self._kinds(text)}
        ordered = tuple(kind for kind in Finding if kind in found)
        return Noticed(found=ordered, us=(time.perf_counter() - began) * 1e6)

    def _kinds(self, text: str) -> Iterator[Finding]:
        for kind, patterns in _PLAIN.items():
            if any(pattern.search(text) for pattern in patterns):
                if kind is Finding.HEALTH and not _ABOUT_SOMEBODY.search(text):
                    continue
                yield kind
        if any(map(self._checks.card, _all(CARD, text))):
            yield Finding.CARD
        if any(map(self._checks.account, _all(IBAN, text))):
            yield Finding.BANK_ACCOUNT
        if any(self._is_national(name, text) for name in NATIONAL):
            yield Finding.NATIONAL_ID
        if self._checks.credential(text):
            yield Finding.CREDENTIAL

    def _is_national(self, name: str, text: str) -> bool:
        return any(self._checks.national(name, each) for each in _all(NATIONAL[name], text))

    @cached_property
    def _checks(self) -> "_Checks":
        return _Checks()


class _Checks:
    """The libraries' own judgements."""

    def __init__(self) -> None:
        from importlib import import_module

        def valid(name: str) -> Callable[[str], bool]:
            found: Callable[[str], bool] = import_module(f"stdnum.{name}").is_valid
            return found

        self._luhn, self._iban = valid("luhn"), valid("iban")
        self._national = {name: valid(name) for name in NATIONAL}
        self._plugins: list[Any] = [
            getattr(import_module(f"detect_secrets.plugins.{module}"), name)()
            for module, name in CREDENTIAL_PLUGINS.items()
        ]

    def card(self, digits: str) -> bool:
        plain = digits.replace(" ", "").replace("-", "")
        return len(set(plain)) > 1 and self._luhn(plain)

    def account(self, written: str) -> bool:
        """The words after a number written in groups may look like one more group."""
        groups = written.split(" ")
        return any(self._iban("".join(groups[:count])) for count in range(len(groups), 0, -1))

    def national(self, name: str, number: str) -> bool:
        return self._national[name](number)

    def credential(self, text: str) -> bool:
        return any(next(iter(plugin.analyze_string(text)), None) for plugin in self._plugins)


def _all(pattern: re.Pattern[str], text: str) -> Iterator[str]:
    return (match[0] for match in pattern.finditer(text))
