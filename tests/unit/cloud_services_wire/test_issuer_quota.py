"""The issuer: who may take how many tokens, also across restarts."""

import io
from pathlib import Path

import pytest

from cloud_node.events import Component, EventLog
from cloud_node.issuer import AccountBook, IssuerService
from lanai.errors import CloudRefused, ConfigError, RefusalCode
from protos.lanai.v1alpha.issuer_pb2 import IssueRequest
from trust.tokens import TokenVerifier, begin, token_challenge

CREDENTIAL = bytes(range(32))
CHALLENGE = token_challenge("tests")
DAY_S = 86_400


@pytest.fixture
def book(tmp_path: Path):
    made = AccountBook(tmp_path / "accounts.sqlite")
    made.add("device", CREDENTIAL, daily_tokens=5)
    yield made
    made.close()


@pytest.fixture
def clock() -> list[float]:
    return [10.0 * DAY_S]


@pytest.fixture
def issuer(issuer_key, book, clock) -> IssuerService:
    log = EventLog(Component.ISSUER, stream=io.StringIO())
    return IssuerService(issuer_key, book, log, batch_limit=4, clock=lambda: clock[0])


def ask(issuer_key, count: int, *, account: str = "device", credential: bytes = CREDENTIAL):
    pending = begin(issuer_key.spki, CHALLENGE, count)
    request = IssueRequest(
        account=account,
        credential=credential,
        token_key_id=pending.key_id,
        blinded=pending.blinded,
    )
    return request, pending


def refusal(issuer, request) -> RefusalCode:
    with pytest.raises(CloudRefused) as caught:
        issuer.issue(request)
    return caught.value.refusal


def test_issued_tokens_are_good(issuer, issuer_key) -> None:
    """What comes back finishes into tokens that a gateway accepts, and says how many are left."""
    request, pending = ask(issuer_key, 3)
    answer = issuer.issue(request)
    assert answer.remaining == 2
    token = pending.finish(answer.signatures)[0]
    verified = TokenVerifier(issuer_key.spki, CHALLENGE).verify(
        token.bytes,
        holder_key=token.holder_key,
        holder_signature=token.sign(b"e" * 32),
        envelope_digest=b"e" * 32,
    )
    assert verified == token.hash


def test_the_quota_holds_across_a_restart_and_ends_with_the_day(
    issuer, issuer_key, book, clock, tmp_path
) -> None:
    """Counts are in the file: a new process knows them; the next day begins anew."""
    issuer.issue(ask(issuer_key, 4)[0])
    book.close()
    again = AccountBook(tmp_path / "accounts.sqlite")
    log = EventLog(Component.ISSUER, stream=io.StringIO())
    restarted = IssuerService(issuer_key, again, log, clock=lambda: clock[0])
    assert refusal(restarted, ask(issuer_key, 2)[0]) is RefusalCode.QUOTA_EXHAUSTED
    assert restarted.issue(ask(issuer_key, 1)[0]).remaining == 0
    clock[0] += DAY_S
    assert restarted.issue(ask(issuer_key, 1)[0]).remaining == 4
    again.close()


def test_what_was_refused_was_not_counted(issuer, issuer_key) -> None:
    """A batch beyond the quota takes nothing of it."""
    issuer.issue(ask(issuer_key, 3)[0])
    assert refusal(issuer, ask(issuer_key, 3)[0]) is RefusalCode.QUOTA_EXHAUSTED
    assert issuer.issue(ask(issuer_key, 2)[0]).remaining == 0


def test_strangers_get_one_answer(issuer, issuer_key) -> None:
    """A wrong credential and an unknown account are the same refusal."""
    for said in ({"credential": bytes(32)}, {"account": "nobody"}, {"credential": b""}):
        assert refusal(issuer, ask(issuer_key, 1, **said)[0]) is RefusalCode.UNAUTHENTICATED


def test_bad_batches_are_refused(issuer, issuer_key) -> None:
    """Another key, an empty batch, too large a batch and a message of another size."""
    request, _ = ask(issuer_key, 1)
    request.token_key_id = bytes(32)
    assert refusal(issuer, request) is RefusalCode.BAD_REQUEST
    request, _ = ask(issuer_key, 1)
    del request.blinded[:]
    assert refusal(issuer, request) is RefusalCode.BAD_REQUEST
    assert refusal(issuer, ask(issuer_key, 5)[0]) is RefusalCode.TOO_LARGE
    request, _ = ask(issuer_key, 1)
    request.blinded[0] = b"short"
    assert refusal(issuer, request) is RefusalCode.BAD_REQUEST


def test_the_book_holds_no_credential(book, tmp_path) -> None:
    """A copy of the file does not let anybody in; short credentials are refused."""
    book.close()
    assert all(CREDENTIAL not in path.read_bytes() for path in tmp_path.glob("accounts*"))
    assert (tmp_path / "accounts.sqlite").stat().st_mode & 0o777 == 0o600
    with pytest.raises(ConfigError):
        AccountBook(tmp_path / "other.sqlite").add("x", b"short", daily_tokens=1)
