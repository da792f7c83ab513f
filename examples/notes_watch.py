"""Watch a folder of notes; keep a short summary of each in its folder `summaries`.

A note whose name holds `private` never leaves this device; what does leave is shown first and
needs a yes.

python examples/notes_watch.py ~/notes
"""

import argparse
import sys
import time
from pathlib import Path

from device_agent import Agent, DataClass, Proposal
from device_agent.features import blocking as features
from lanai.errors import LanaiError

PERIOD_S = 2.0
SUFFIXES = (".md", ".txt")


def ask(proposal: Proposal) -> bool:
    """Before anything leaves. Without a terminal nobody can say yes."""
    if not sys.stdin.isatty():
        return False
    said = input(f"send {proposal.characters} characters ({proposal.reason}) to the cloud? [y/N] ")
    return said.strip().lower() == "y"


def summarize_new(agent: Agent, folder: Path) -> list[Path]:
    """Summaries of the notes that are newer than theirs; those written now are returned."""
    written = []
    for note in sorted(each for each in folder.iterdir() if each.suffix in SUFFIXES):
        summary = folder / "summaries" / note.name
        if summary.exists() and summary.stat().st_mtime >= note.stat().st_mtime:
            continue
        try:
            _summarize(agent, note, summary)
        except (LanaiError, UnicodeDecodeError) as error:
            print(f"{note.name}: {type(error).__name__}", file=sys.stderr)
            continue
        written.append(summary)
    return written


def _summarize(agent: Agent, note: Path, summary: Path) -> None:
    session = agent.session(
        data_class=DataClass.SECRET if "private" in note.name else DataClass.PERSONAL,
        approve=ask,
    )
    told = features.summarize(session, note.read_text(encoding="utf-8"), timeout_s=120)
    summary.parent.mkdir(exist_ok=True)
    how = ", its own words" if told.quoted else ""
    whole = f"{told.text}\n\n({told.source}: {told.decision.reason}{how})\n"
    summary.write_text(whole, encoding="utf-8")


def watch(folder: Path, *, once: bool) -> None:
    with Agent.from_config() as agent:
        while True:
            for summary in summarize_new(agent, folder):
                print(f"wrote {summary}")
            if once:
                return
            time.sleep(PERIOD_S)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--once", action="store_true", help="look once and end")
    given = parser.parse_args()
    try:
        watch(given.folder, once=given.once)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)


if __name__ == "__main__":
    main()
