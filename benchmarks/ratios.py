"""Claims that are ratios: arms that take turns on one machine, so that what else it does meets them alike."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch

Arm = Callable[[], float]
"""Runs once and returns its cost or its speed: seconds, audio-seconds per second, bytes."""


@dataclass(frozen=True)
class Claim:
    """A claim of speed, one row of the table."""

    what: str
    peer: str
    floor: str
    """The bound that no implementation could go beyond, and why."""
    target: float
    better: Literal["at least", "at most"]
    unit: Literal["×", "%", "GB"] = "×"

    def met(self, value: float) -> bool:
        """Whether a value is on the right side of the target."""
        return bool(value >= self.target if self.better == "at least" else value <= self.target)  # NumPy's are no JSON


@dataclass(frozen=True)
class Measurement:
    """The measurement of a claim."""

    claim: Claim
    repeats: tuple[float, ...] = ()
    """One value for each repeat; none where it was not measured."""
    note: str = ""
    """The sizes of what was measured, or the reason why it was not."""

    @property
    def median(self) -> float | None:
        """The median of the repeats; None where nothing was measured."""
        return statistics.median(self.repeats) if self.repeats else None

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None where nothing was measured."""
        return None if self.median is None else self.claim.met(self.median)


def device() -> torch.device:
    """The device that training would run on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def not_measured(claims: Sequence[Claim], why: str) -> list[Measurement]:
    """Measurements of these claims without a value, for the reason `why`."""
    return [Measurement(claim, note=why) for claim in claims]


def alternate(arms: Mapping[str, Arm], repeats: int, *, warm_up: bool = True) -> dict[str, tuple[float, ...]]:
    """Values that each of `arms` returned in `repeats` rounds, in each of which all take turns, back and forth.

    In the second round the last one goes first, so that a machine that warms up or slows down favours none.
    A round before them is thrown away: it chooses kernels, fills allocators' pools and the page cache.
    """
    found: dict[str, list[float]] = {name: [] for name in arms}
    for number in range(-1 if warm_up else 0, repeats):
        for name in list(arms)[:: 1 if number % 2 == 0 else -1]:
            value = arms[name]()
            if number >= 0:
                found[name].append(value)
    return {name: tuple(values) for name, values in found.items()}


def ratios(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """Ratios repeat by repeat, of the two that were measured side by side."""
    return tuple(a / b for a, b in zip(above, below, strict=True))


def seconds(run: Callable[[], object]) -> Arm:
    """`run` as an arm that costs what the clock on the wall says, the device's work included."""
    return _timed(run, time.perf_counter)


def core_seconds(run: Callable[[], object]) -> Arm:
    """`run` as an arm that costs the time of processors, over all of this process's threads."""
    return _timed(run, time.process_time)


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> Arm:
    def timed() -> float:
        _wait()
        begun = clock()
        run()
        _wait()
        return clock() - begun

    return timed


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def on(claim: Claim, where: str, target: float) -> Claim:
    """The claim with the target that holds on one kind of device."""
    return replace(claim, what=f"{claim.what}, {where}", target=target)
