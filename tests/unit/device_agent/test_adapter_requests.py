"""Requests that name an adapter: the device answers them, or nobody."""

import pytest

from device_agent.options import Options
from lanai.errors import AdapterError, AdapterFault, NoRoute, UsageError
from router.vocabulary import Destination, Mode, Reason


async def test_the_adapter_reaches_the_engine(make_bench, scripted) -> None:
    """Of each request its own; without one the engine is told of none."""
    named: list[str | None] = []

    class Noting(scripted.Engine):
        async def submit(self, ids, options, *, adapter=None, **more):
            named.append(adapter)
            async for event in super().submit(ids, options, **more):
                yield event

    bench = make_bench(engines=[Noting()])
    async with bench.agent as agent:
        session = agent.session()
        await session.respond("a", options=Options(adapter="mail-style"))
        await session.respond("b")
    assert named == ["mail-style", None]


@pytest.mark.parametrize("mode", [Mode.AUTO, Mode.PREFER_IN_CLOUD])
async def test_the_cloud_never_answers_in_its_place(make_bench, scripted, mode: Mode) -> None:
    """A node knows nothing of the device's adapters: the rules rule it out."""
    cloud = scripted.Cloud()
    bench = make_bench(cloud=cloud)
    async with bench.agent as agent:
        reply = await agent.session(mode=mode).respond("a", options=Options(adapter="x"))
        assert reply.source is Destination.DEVICE
        with pytest.raises(NoRoute) as caught:
            await agent.session(mode=Mode.ONLY_IN_CLOUD).respond("a", options=Options(adapter="x"))
    assert caught.value.reason == Reason.CLOUD_CANNOT
    assert not cloud.asked


async def test_a_fault_of_the_adapter_is_the_requests_error(make_bench, scripted) -> None:
    """The engine lives; the transcript is as it was; the next request is answered."""

    class Refusing(scripted.Engine):
        async def submit(self, ids, options, *, adapter=None, **more):
            if adapter is not None:
                raise AdapterError("wrong base", fault=AdapterFault.WRONG_BASE, hint="…")
            async for event in super().submit(ids, options, **more):
                yield event

    bench = make_bench(engines=[Refusing()])
    async with bench.agent as agent:
        session = agent.session()
        with pytest.raises(AdapterError):
            await session.respond("a", options=Options(adapter="x"))
        assert session.transcript == ()
        assert (await session.respond("b")).text == "from the device"
    assert bench.loader.started == 1


@pytest.mark.parametrize("name", ["", "../x", "A", "x" * 65])
def test_what_is_no_name_is_refused(name: str) -> None:
    """Before anything runs."""
    with pytest.raises(UsageError):
        Options(adapter=name)
