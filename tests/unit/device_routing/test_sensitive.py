"""What the detector finds, by kind; numbers are checked, not only counted."""

import subprocess
import sys

import pytest

from device_agent.sensitive import PatternDetector
from router.vocabulary import Finding


@pytest.fixture(scope="module")
def detector() -> PatternDetector:
    found = PatternDetector()
    found.warm()
    return found


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("pay with 4111 1111 1111 1111 please", Finding.CARD),
        ("5500-0000-0000-0004", Finding.CARD),
        ("my account is DE89 3704 0044 0532 0130 00 over there", Finding.BANK_ACCOUNT),
        ("GB82WEST12345698765432", Finding.BANK_ACCOUNT),
        ("SSN 536-90-4399", Finding.NATIONAL_ID),
        ("the key is AKIAIOSFODNN7EXAMPLE", Finding.CREDENTIAL),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345", Finding.CREDENTIAL),
        ("-----BEGIN RSA PRIVATE KEY-----", Finding.CREDENTIAL),
        ("https://me:hunter22@example.org/", Finding.CREDENTIAL),
        ("the password is hunter2!", Finding.CREDENTIAL),
        ("sk-proj-abcdefghijklmnopqrstuvwxyz", Finding.CREDENTIAL),
        ("write to ada@example.org", Finding.CONTACT),
        ("call +44 20 7946 0958", Finding.CONTACT),
        ("My name is Ada and I live here", Finding.NAME),
        ("tell Dr. Lovelace", Finding.NAME),
        ("I was diagnosed with diabetes", Finding.HEALTH),
    ],
)
def test_a_kind_is_found(detector, text, kind) -> None:
    """By check digits and prefixes, or by a pattern."""
    assert kind in detector.notice([text]).found


@pytest.mark.parametrize(
    "text",
    [
        "pay with 4111 1111 1111 1112 please",  # check digit
        "0000 0000 0000 0000",
        "GB82WEST12345698765433",
        "SSN 000-12-3456",
        "the password is wrong",
        "what causes diabetes?",
        "3.14159265358979323846264338327950288",
        "multiply 123456789 by 987654321",
        "",
    ],
)
def test_what_only_looks_like_it_is_not(detector, text) -> None:
    """Wrong check digits, numbers that nobody was given, questions about an illness."""
    assert detector.notice([text]).found == ()


def test_every_message_counts_and_each_kind_once(detector) -> None:
    """In the order of the list, with the time that looking took."""
    noticed = detector.notice(["ada@example.org", "4111111111111111", "bob@example.org"])
    assert noticed.found == (Finding.CARD, Finding.CONTACT)
    assert noticed.us is not None
    assert noticed.us > 0


def test_the_libraries_are_not_imported_with_the_agent() -> None:
    """Only the first text imports them."""
    code = (
        "import sys, device_agent.agent;"
        "print(any(m.startswith(('stdnum', 'detect_secrets', 'requests')) for m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
