"""A plug-in of the command ``llm`` (https://llm.datasette.io): ``llm -m lanai "..."``.

Found by its entry point wherever both packages are installed; nothing here imports it. Mind that
``llm`` keeps every prompt and answer in a database of its own unless ``llm logs off`` was said.
"""

from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any, Final, Literal

import llm
from llm.parts import TextPart
from pydantic import Field

from device_agent.agent import AsyncAgent
from device_agent.blocking import Agent
from device_agent.options import Options
from device_agent.reply import Reply
from inference.text import ChatMessage
from lanai.content import Content
from lanai.errors import LanaiError, UsageError

__all__ = ["AsyncLanai", "Lanai", "register_models"]

NAME: Final = "lanai"


class LanaiOptions(llm.Options):
    """What ``llm -o NAME VALUE`` may say; the same names as in the SDK."""

    max_tokens: int | None = Field(None, description="length of the answer at most")
    temperature: float = Field(0.0, description="0 is greedy")
    top_p: float = Field(1.0, description="1 is off")
    top_k: int = Field(0, description="0 is off")
    seed: int | None = Field(None, description="for a temperature above 0")
    mode: (
        Literal["auto", "prefer_on_device", "only_on_device", "prefer_in_cloud", "only_in_cloud"]
        | None
    ) = Field(None, description="where the answer may come from")
    data_class: Literal["public", "personal", "secret"] = Field(
        "personal", description="secret never leaves the device"
    )
    consent: bool | None = Field(None, description="your word on leaving the device")

    def of_agent(self) -> Options:
        """Raises ``UsageError`` for a value out of range."""
        sampling = {"temperature", "top_p", "top_k", "seed"}
        return Options(max_tokens=self.max_tokens, **self.model_dump(include=sampling))

    def of_session(self) -> dict[str, Any]:
        return self.model_dump(include={"mode", "data_class", "consent"})


class Lanai(llm.Model):
    """An agent for each prompt, so that nothing is left running: ``llm`` says no goodbye."""

    model_id = NAME
    can_stream = True
    Options = LanaiOptions  # type: ignore[assignment]  # its type is any subclass's own

    def __init__(self, make: Callable[[], Agent] = Agent.from_config) -> None:
        self._make = make

    def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.Response,
        conversation: llm.Conversation | None,
    ) -> Iterator[str]:
        """Raises ``llm.ModelError`` with our message and hint."""
        try:
            history, last = _said(prompt)
            with self._make() as agent:
                session = agent.session(**_options(prompt).of_session())
                session.restore(history)
                with session.stream(last, options=_options(prompt).of_agent()) as pieces:
                    for event in pieces:
                        yield str(event.text)
                _note(response, pieces.final)
        except LanaiError as error:
            raise _theirs(error) from None


class AsyncLanai(llm.AsyncModel):
    """The same for programs that await."""

    model_id = NAME
    can_stream = True
    Options = LanaiOptions  # type: ignore[assignment]  # its type is any subclass's own

    def __init__(self, make: Callable[[], AsyncAgent] = AsyncAgent.from_config) -> None:
        self._make = make

    async def execute(
        self,
        prompt: llm.Prompt,
        stream: bool,
        response: llm.AsyncResponse,
        conversation: llm.AsyncConversation | None,
    ) -> AsyncGenerator[str, None]:
        """Raises ``llm.ModelError`` with our message and hint."""
        try:
            history, last = _said(prompt)
            async with self._make() as agent:
                session = agent.session(**_options(prompt).of_session())
                session.restore(history)
                async with session.stream(last, options=_options(prompt).of_agent()) as pieces:
                    async for event in pieces:
                        yield str(event.text)
                _note(response, pieces.final)
        except LanaiError as error:
            raise _theirs(error) from None


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    register(Lanai(), AsyncLanai())


def _options(prompt: llm.Prompt) -> LanaiOptions:
    if not isinstance(prompt.options, LanaiOptions):
        raise UsageError("these are the options of another model")
    return prompt.options


def _said(prompt: llm.Prompt) -> tuple[tuple[ChatMessage, ...], Content]:
    """The turns before, and the prompt."""
    messages = [ChatMessage(role=each.role, text=_text(each.parts)) for each in prompt.messages]
    if not messages or messages[-1].role != "user":
        raise UsageError("the prompt is empty", hint="say something")
    return tuple(messages[:-1]), messages[-1].text


def _text(parts: list[Any]) -> Content:
    if not all(isinstance(part, TextPart) for part in parts):
        raise UsageError("only text can be answered")
    return Content("".join(part.text for part in parts))


def _note(response: Any, reply: Reply[Any]) -> None:
    """What ``llm logs`` shows beside the answer: counts, source, decision and receipt."""
    response.set_usage(input=reply.usage.input_tokens, output=reply.usage.output_tokens)
    response.set_resolved_model(reply.model)
    told = reply.to_json_dict()
    del told["text"]
    response.response_json = {"lanai": told}


def _theirs(error: LanaiError) -> llm.ModelError:
    return llm.ModelError(f"{error.message} (hint: {error.hint})" if error.hint else error.message)
