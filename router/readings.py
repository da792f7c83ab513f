"""Measures signals and keeps what each gave and cost."""

from collections.abc import Iterable, Mapping

from router.decision import SignalReading
from router.estimator import Estimator
from router.signals import Observed, Signal
from router.stopwatch import Clock

__all__ = ["Readings"]


class Readings:
    """The signals of one request, in the order they were first measured."""

    __slots__ = ("_clock", "_rows")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[str, tuple[float | None, float | None, int]] = {}
        """Raw, calibrated, nanoseconds."""

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

    def lack(self, signals: Iterable[str]) -> None:
        """Heads read these: one that nobody measured is recorded as missing, and so said."""
        for name in signals:
            if name not in self._rows:
                self._rows[name] = None, None, 0

    def values(self) -> Mapping[str, float | None]:
        """Everything measured so far, by name."""
        return {name: raw for name, (raw, _, _) in self._rows.items()}

    def all(self) -> tuple[SignalReading, ...]:
        return tuple(
            SignalReading(name=name, raw=raw, calibrated=calibrated, cost_us=spent / 1000)
            for name, (raw, calibrated, spent) in self._rows.items()
        )

    def _read(
        self, signal: Signal[Observed], observation: Observed, estimator: Estimator | None
    ) -> float | None:
        began = self._clock()
        raw = signal.measure(observation)
        calibrated = estimator.calibrate(signal.name, raw) if estimator else None
        spent = max(self._clock() - began, 0)
        if (before := self._rows.get(signal.name)) is not None:
            spent += before[2]
        self._rows[signal.name] = raw, calibrated, spent
        return raw
