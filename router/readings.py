"""Measures signals and keeps what each gave and cost."""

from collections.abc import Iterable, Mapping

from router.decision import SignalReading
from router.estimator import Estimator
from router.signals import Observed, Signal
from router.stopwatch import Clock

__all__ = ["Readings"]


class Readings:
    """The signals of one request, in the order they were first measured."""

    __slots__ = ("_clock", "_readings")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._readings: dict[str, SignalReading] = {}

    def measure(
        self,
        signals: Iterable[Signal[Observed]],
        observation: Observed,
        estimator: Estimator | None,
    ) -> Mapping[str, float | None]:
        """Values by name. A signal asked again keeps its latest value and its whole cost."""
        values: dict[str, float | None] = {}
        for signal in signals:
            values[signal.name] = self._read(signal, observation, estimator)
        return values

    def values(self) -> Mapping[str, float | None]:
        """Everything measured so far, by name."""
        return {name: reading.raw for name, reading in self._readings.items()}

    def all(self) -> tuple[SignalReading, ...]:
        return tuple(self._readings.values())

    def _read(
        self, signal: Signal[Observed], observation: Observed, estimator: Estimator | None
    ) -> float | None:
        began = self._clock()
        raw = signal.measure(observation)
        calibrated = estimator.calibrate(signal.name, raw) if estimator else None
        cost_us = max(self._clock() - began, 0) / 1000
        before = self._readings.get(signal.name)
        self._readings[signal.name] = SignalReading(
            name=signal.name,
            raw=raw,
            calibrated=calibrated,
            cost_us=cost_us + (before.cost_us if before else 0.0),
        )
        return raw
