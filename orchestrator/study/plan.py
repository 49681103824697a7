"""`--plan`: which trials would run, on what, for how long; nothing is run and nothing is written."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

from rich.console import Console

from orchestrator.study.estimates import Estimates, duration, following, makespan
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.runner import Runner
from orchestrator.study.sweep import Sweep, Trial

BYTES_PER_PARAMETER = 4
CHECKPOINT = 4
"""Copies of the parameters in a checkpoint: the model, the two moments of AdamW, the best student."""
CHECKPOINTS = 2
"""Checkpoints that a running trial has."""
Probe = Mapping[str, float]


def show(
    console: Console,
    sweep: Sweep,
    ledger: Ledger,
    missing: Sequence[Trial],
    results: Mapping[str, Result],
    resumed: Collection[str],
    runner: Runner,
) -> None:
    """Print the plan for the trials that are `missing`, of which those that are `resumed` have a checkpoint.

    Durations come from the ledger where trials of a type are finished, else from a measured probe.
    """
    slots = min(runner.slots(), max(1, len(missing)))
    estimates, probes = Estimates.of(sweep.axes[0], sweep.everything, results), {}
    for costliest in _costliest(missing):
        probes[costliest.recipe.type_name()] = probe = runner.probe(costliest)
        estimates = estimates.and_probe(costliest, probe["seconds"])
    ordered = estimates.longest_first(missing)
    expected = [estimates.seconds(trial) or 0.0 for trial in ordered]
    starting = Counter(need.signature for trial in missing for need in trial.needs)
    for trial, seconds in zip(ordered, expected, strict=True):
        needed = f", needed by {starting[trial.signature]}" if trial.signature in starting else ""
        begun = ", from a checkpoint" if trial.signature in resumed else ""
        told = f"{trial.recipe.steps} steps, about {duration(seconds)}{needed}{begun}"
        console.print(f"  {trial.label}: {told}", soft_wrap=True)
    preparations = {str(p) for trial in missing for p in sweep.preparations(trial)}
    gpus = sweep.resources.workers * sweep.resources.gpus
    time = makespan(expected, slots, following(ordered))
    lines = {
        "Preparations": f"{len(preparations)}, those already in the cache at no cost",
        "Resources": f"{sweep.resources} per trial, {slots} at once",
        "Time": f"about {duration(time)} by {_source(estimates)}" if missing else "none",
        "GPU hours": f"{sum(expected) * gpus / 3600:.2g}" if gpus else "none",
        "Disk": _disk(ledger, [probes[trial.recipe.type_name()] for trial in missing], slots),
        "Storage": str(ledger.storage),
    }
    for name, text in lines.items():
        console.print(f"{name + ':':<14}{text}", soft_wrap=True)


def _costliest(missing: Sequence[Trial]) -> list[Trial]:
    """One trial of each type of recipe, of those with most steps the one with most preparations: with a teacher."""
    found: dict[str, Trial] = {}
    for trial in sorted(
        missing, key=lambda trial: (trial.recipe.steps, len(trial.recipe.preparations())), reverse=True
    ):
        found.setdefault(trial.recipe.type_name(), trial)
    return list(found.values())


def _source(estimates: Estimates) -> str:
    probed = any(source.startswith("a probe") for source in estimates.sources)
    return " and ".join(estimates.sources) + ("; training steps alone" if probed else "")


def _disk(ledger: Ledger, probes: Sequence[Probe], slots: int) -> str:
    """The room for the models of all trials, of which each has a probe, and for the checkpoints of the largest."""
    if not probes:
        return "nothing more"
    models = [probe["parameters"] * BYTES_PER_PARAMETER for probe in probes]
    needed = sum(models) + slots * CHECKPOINT * CHECKPOINTS * max(models)
    free = ledger.storage.free()
    return f"about {_size(needed)}" + (f", of {_size(free)} free" if free is not None else "")


def _size(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
