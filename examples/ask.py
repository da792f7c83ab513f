"""Ask one question, watch the answer come, and see where it came from and why.

python examples/ask.py "What is the capital of Australia?"
"""

import asyncio
import sys

from device_agent import AsyncAgent, Options


async def main(question: str) -> None:
    async with AsyncAgent.from_config() as agent:
        if not (state := await agent.availability()):
            raise SystemExit(state.reason)
        session = agent.session(instructions="Answer in one sentence.")
        async with session.stream(question, options=Options(max_tokens=80)) as stream:
            async for event in stream:
                print(event.text, end="", flush=True)
        print()
        reply = stream.final
        print(f"{reply.source}: {reply.decision.explain()}")
        if reply.receipt is not None:
            print(f"answered by node {reply.receipt.node}, proved by {reply.receipt.evidence}")


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "What is the capital of Australia?"))
