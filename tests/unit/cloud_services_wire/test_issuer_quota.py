"""The issuer: who may take how many tokens, also across restarts."""

import io
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloud_node.events import Component, EventLog
from cloud_node.issuer import AccountBook, IssuerKeys, IssuerService
from cloud_node.keyring import KeyRing
from lanai.errors import CloudRefused, ConfigError, RefusalCode
from protos.lanai.v1alpha.issuer_pb2 import IssueRequest
from trust.keys import KeyRecord
from trust.tokens import TokenIssuer, TokenVerifier, begin, token_challenge

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
    return [20_000.0 * DAY_S]


@pytest.fixture
def ring(tmp_path: Path, issuer_key, clock) -> KeyRing:
    """A ring that holds the session's key, valid for four days."""
    record = KeyRecord(
        purpose="issuer",
        key=issuer_key.spki,
        not_before=int(clock[0]),
        expires_at=int(clock[0]) + 4 * DAY_S,
    )
    put(tmp_path / "ring", record, issuer_key)
    return KeyRing(tmp_path / "ring", "issuer")


def put(folder: Path, record: KeyRecord, key: TokenIssuer) -> None:
    folder.mkdir(exist_ok=True)
    value = {
        "schema": "lanai.ring-key/1",
        "record": record.canonical().decode(),
        "pem": key.to_pem().decode(),
    }
    (folder / f"{record.key_id.hex()}.json").write_text(json.dumps(value))


@pytest.fixture
def keys(ring, clock) -> IssuerKeys:
    return IssuerKeys(ring, clock=lambda: clock[0])


@pytest.fixture
def issuer(keys, book, clock) -> IssuerService:
    log = EventLog(Component.ISSUER, stream=io.StringIO())
    return IssuerService(keys, book, log, batch_limit=4, clock=lambda: clock[0])


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
    issuer, issuer_key, keys, book, clock, tmp_path
) -> None:
    """Counts are in the file: a new process knows them; the next day begins anew."""
    issuer.issue(ask(issuer_key, 4)[0])
    book.close()
    again = AccountBook(tmp_path / "accounts.sqlite")
    log = EventLog(Component.ISSUER, stream=io.StringIO())
    restarted = IssuerService(keys, again, log, clock=lambda: clock[0])
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


def test_a_bad_message_costs_no_quota(issuer, issuer_key) -> None:
    """A batch with one message out of range is refused before it is counted."""
    request, _ = ask(issuer_key, 3)
    request.blinded[2] = b"\xff" * 256
    assert refusal(issuer, request) is RefusalCode.BAD_REQUEST
    assert issuer.issue(ask(issuer_key, 4)[0]).remaining == 1


def test_a_new_key_is_found_without_a_restart(issuer, issuer_key, ring, clock) -> None:
    """A key added to the folder signs at once, and the old one goes on until its window ends."""
    clock[0] += DAY_S
    record = ring.add(now=int(clock[0]), lifetime_s=4 * DAY_S)
    (fresh,) = [key for key in ring.read() if key.record == record]
    new = TokenIssuer.from_pem(fresh.pem)
    for key in (new, issuer_key):
        request, pending = ask(key, 1)
        assert pending.finish(issuer.issue(request).signatures)
    clock[0] += 3 * DAY_S
    assert refusal(issuer, ask(issuer_key, 1)[0]) is RefusalCode.TOKEN_EXPIRED
    assert issuer.issue(ask(new, 1)[0]).signatures


def test_a_key_that_is_not_valid_yet_signs_nothing(issuer, issuer_key, ring, clock) -> None:
    """The third key of a ring waits until one of the others has ended."""
    now = int(clock[0])
    ring.add(now=now, lifetime_s=4 * DAY_S)
    third = ring.add(now=now, lifetime_s=4 * DAY_S)
    assert third.not_before == now + 4 * DAY_S
    pem = next(key.pem for key in ring.read() if key.record == third)
    waiting = TokenIssuer.from_pem(pem)
    assert refusal(issuer, ask(waiting, 1)[0]) is RefusalCode.BAD_REQUEST
    clock[0] += 4 * DAY_S
    assert issuer.issue(ask(waiting, 1)[0]).signatures


def test_a_ring_keeps_private_whole_files(ring, clock, tmp_path) -> None:
    """Keys are mode 0600; expired ones go when one is added; a damaged one is an error."""
    now = int(clock[0])
    record = ring.add(now=now, lifetime_s=DAY_S)
    path = tmp_path / "ring" / f"{record.key_id.hex()}.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "PRIVATE" not in repr(ring.read())
    ring.add(now=now + 5 * DAY_S, lifetime_s=DAY_S)
    assert (len(ring.read()), path.exists()) == (1, False)
    (tmp_path / "ring" / "0.json").write_text("{}")
    with pytest.raises(ConfigError):
        ring.read()


def test_an_issuer_without_keys_does_not_start(tmp_path, clock) -> None:
    """An empty folder is an error with a hint, not an issuer that refuses everybody."""
    with pytest.raises(ConfigError) as caught:
        IssuerKeys(KeyRing(tmp_path / "none", "issuer"), clock=lambda: clock[0])
    assert caught.value.hint


def test_a_quota_holds_under_concurrency(book, tmp_path) -> None:
    """Two books over one file, eight threads, twenty charges: five are granted, not one more."""
    other = AccountBook(tmp_path / "accounts.sqlite")

    def charge(number: int) -> bool:
        try:
            (book, other)[number % 2].charge("device", 1, day=1)
        except CloudRefused:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(charge, range(20))) == 5
    other.close()


CHARGING = """
import sys
from pathlib import Path
from cloud_node.issuer import AccountBook
book = AccountBook(Path(sys.argv[1]))
while True:
    print(book.charge("device", 1, day=1), flush=True)
"""


def test_what_was_granted_survives_a_kill(book, tmp_path) -> None:
    """Killed at any moment, the book knows at least every token whose grant was seen."""
    path = tmp_path / "accounts.sqlite"
    book.add("device", CREDENTIAL, daily_tokens=1_000_000)
    with subprocess.Popen(
        [sys.executable, "-c", CHARGING, str(path)], stdout=subprocess.PIPE
    ) as process:
        granted = [int(process.stdout.readline()) for _ in range(25)]
        process.send_signal(signal.SIGKILL)
    left = book.charge("device", 1, day=1)
    assert granted == sorted(granted, reverse=True)
    assert left < granted[-1]
