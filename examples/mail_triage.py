"""Sort the mail of an mbox file by what should be read first. Nothing of it leaves this device.

python examples/mail_triage.py ~/mail/inbox.mbox --newest 20

The form of each answer is enforced, its sense is the model's: the default one of 135M parameters
finds most mail urgent. A larger one judges better: set LANAI_DEVICE_MODEL.
"""

import argparse
import mailbox
import sys
from contextlib import closing
from dataclasses import dataclass
from email.header import decode_header, make_header
from email.message import Message
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from device_agent import Agent, DataClass, Options, Session
from lanai.errors import LanaiError

MAX_CHARACTERS = 1200
ORDER = ("urgent", "today", "later", "ignore")
INSTRUCTIONS = (
    "You sort mail for a busy person. urgent: somebody waits or a deadline is near. "
    "today: needs an answer. later: worth reading. ignore: advertising and automatic notices."
)


class Triage(BaseModel):
    """What is asked of the model about one mail."""

    about: str = Field(max_length=80)
    priority: Literal["urgent", "today", "later", "ignore"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sorted:
    sender: str
    subject: str
    triage: Triage


def triage(agent: Agent, path: Path, *, newest: int) -> list[Sorted]:
    """The newest mails, most pressing first. A mail that cannot be judged is said on stderr."""
    session = agent.session(instructions=INSTRUCTIONS, data_class=DataClass.SECRET)
    found = []
    with closing(mailbox.mbox(path, create=False)) as box:
        mails = list(box)[-newest:]
    for at, mail in enumerate(mails):
        if sys.stderr.isatty():
            print(f"{at + 1} of {len(mails)}", end="\r", file=sys.stderr)
        subject = _header(mail, "subject")
        try:
            found.append(_judge(session.fork(), mail, subject))
        except LanaiError as error:
            print(f"{subject}: {error.message}", file=sys.stderr)
    return sorted(found, key=lambda each: ORDER.index(each.triage.priority))


def _judge(session: Session, mail: Message, subject: str) -> Sorted:
    """In a fork, so that no mail is judged by the one before it."""
    sender = _header(mail, "from")
    prompt = f"From: {sender}\nSubject: {subject}\n\n{_text(mail)[:MAX_CHARACTERS]}"
    reply = session.respond(prompt, into=Triage, options=Options(max_tokens=80))
    return Sorted(sender=sender, subject=subject, triage=reply.value)


def _header(mail: Message, name: str) -> str:
    return str(make_header(decode_header(mail.get(name, "")))) or f"(no {name})"


def _text(mail: Message) -> str:
    """The first part that is plain text."""
    for part in mail.walk():
        if part.get_content_type() == "text/plain":
            body = part.get_payload(decode=True)
            charset = part.get_content_charset("utf-8")
            return body.decode(charset, "replace").strip() if isinstance(body, bytes) else ""
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("mbox", type=Path)
    parser.add_argument("--newest", type=int, default=10)
    given = parser.parse_args()
    with Agent.from_config() as agent:
        for each in triage(agent, given.mbox, newest=given.newest):
            print(f"{each.triage.priority:<7} {each.subject[:40]:<40} {each.triage.about}")


if __name__ == "__main__":
    main()
