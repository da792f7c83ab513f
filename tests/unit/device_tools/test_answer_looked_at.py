"""Stage 3: an answer of the device that fails what the app asked for goes to the cloud, unseen."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, field_validator

from device_agent import Destination, Mode, Options
from lanai.content import Content
from lanai.errors import ValidationFailed
from router import Reason
from router.vocabulary import DataClass
from router.vocabulary import Stage as When

MakeStage = Callable[..., Any]
FakeCloud = Callable[..., Any]

LONG = '{"city": "Llanfairpwllgwyngyll"}'
SHORT = '{"city": "Oslo"}'


class Place(BaseModel):
    city: str

    @field_validator("city")
    @classmethod
    def short(cls, city: str) -> str:
        """What no grammar holds."""
        if len(city) > 8:
            raise ValueError("too long")
        return city


async def test_an_answer_that_fails_the_app_s_own_validator_escalates(
    stage: MakeStage, fake_cloud: FakeCloud
) -> None:
    """The device's JSON is of the schema, not of the type: nobody sees it, the cloud answers."""
    cloud = fake_cloud([[Content(SHORT)]])
    async with stage(LONG, cloud=cloud).agent as agent:
        reply = await agent.session().respond("where?", into=Place)
    assert (reply.source, reply.value.city) == (Destination.CLOUD, "Oslo")
    assert (reply.decision.stage, reply.decision.reason) == (
        When.AFTER_ANSWER,
        Reason.ANSWER_INVALID,
    )
    assert reply.usage.output_tokens == 7


async def test_an_answer_cut_off_escalates(stage: MakeStage, fake_cloud: FakeCloud) -> None:
    """Half a JSON document is not of the form."""
    cloud = fake_cloud([[Content(SHORT)]])
    async with stage(SHORT, cloud=cloud).agent as agent:
        reply = await agent.session().respond("where?", into=Place, options=Options(max_tokens=2))
    assert reply.source is Destination.CLOUD


async def test_a_good_answer_stays(stage: MakeStage, fake_cloud: FakeCloud) -> None:
    """It was looked at, and nothing left."""
    cloud = fake_cloud([[Content(SHORT)]])
    async with stage(SHORT, cloud=cloud).agent as agent:
        reply = await agent.session().respond("where?", into=Place)
    assert (reply.source, cloud.asked) == (Destination.DEVICE, [])
    assert reply.decision.stage is When.AFTER_ANSWER


async def test_a_stream_never_changes_its_source(stage: MakeStage, fake_cloud: FakeCloud) -> None:
    """Characters were shown: the answer fails where it is."""
    cloud = fake_cloud([[Content(SHORT)]])

    async def read(agent: Any) -> None:
        async with agent.session().stream("where?", into=Place) as events:
            async for _ in events:
                pass

    async with stage(LONG, cloud=cloud).agent as agent:
        with pytest.raises(ValidationFailed):
            await read(agent)
    assert cloud.asked == []


@pytest.mark.parametrize(
    "kept", [{"data_class": DataClass.SECRET}, {"consent": False}, {"mode": Mode.ONLY_ON_DEVICE}]
)
async def test_no_rule_is_outvoted_by_a_bad_answer(
    stage: MakeStage, fake_cloud: FakeCloud, kept: dict[str, Any]
) -> None:
    """The request fails on the device."""
    cloud = fake_cloud([[Content(SHORT)]])
    async with stage(LONG, cloud=cloud).agent as agent:
        with pytest.raises(ValidationFailed):
            await agent.session().respond("where?", into=Place, **kept)
    assert cloud.asked == []
