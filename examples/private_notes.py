"""Summarize text files one by one. Files whose name holds `private` never leave this device.

python examples/private_notes.py notes/*.txt
"""

import sys
from pathlib import Path

from device_agent import Agent, DataClass, Options
from lanai.errors import LanaiError


def main(paths: list[str]) -> None:
    with Agent.from_config() as agent:
        for path in map(Path, paths):
            private = "private" in path.name
            session = agent.session(
                instructions="Summarize the text in one sentence.",
                data_class=DataClass.SECRET if private else DataClass.PERSONAL,
            )
            try:
                reply = session.respond(path.read_text(), options=Options(max_tokens=80))
            except LanaiError as error:
                print(f"{path}: {error.message}", file=sys.stderr)
                continue
            print(f"{path} ({reply.source}, {reply.decision.reason}): {reply.text.strip()}")


if __name__ == "__main__":
    if not sys.argv[1:]:
        raise SystemExit(__doc__)
    main(sys.argv[1:])
