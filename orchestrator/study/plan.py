"""`--plan`: what would run, on what, for how long; nothing is run and nothing is written."""

from collections.abc import Collection, Mapping, Sequence

from rich.console import Console

from orchestrator.study.estimates import Estimates, duration, makespan
from orchestrator.study.ledger import Ledger, Result
from orchestrator.study.runner import Runner
from orchestrator.study.sweep import Sweep, Trial

BYTES_PER_PARAMETER = 4
CHECKPOINT = 4
"""A checkpoint holds each parameter this often: the model, the two moments of AdamW, the best student."""
CHECKPOINTS = 2
"""Of a running trial."""


def show(
    console: Console,
    sweep: Sweep,
    ledger: Ledger,
    missing: Sequence[Trial],
    results: Mapping[str, Result],
    resumed: Collection[str],
    runner: Runner,
) -> None:
    """Print the plan; `resumed` are the trials that have a checkpoint.

    Durations come from the ledger where trials are finished, else from a measured probe.
    """
    slots = min(runner.slots(), max(1, len(missing)))
    estimates = Estimates.of(sweep.axes[0], sweep.trials, results)
    probe: Mapping[str, float] = {}
    if missing:
        # The longest kind: with a teacher, where one takes part.
        costliest = max(missing, key=lambda trial: (trial.recipe.steps, len(sweep.preparations(trial))))
        probe = runner.probe(costliest)
        if not estimates.rates:
            rates = {trial.fields[sweep.axes[0]]: probe["seconds"] for trial in missing}
            estimates = Estimates(sweep.axes[0], rates, f"a probe of {costliest.label}; training steps alone")
    for trial in estimates.longest_first(missing):
        begun = ", from a checkpoint" if trial.signature in resumed else ""
        seconds = estimates.seconds(trial) or 0.0
        console.print(f"  {trial.label}: {trial.recipe.steps} steps, about {duration(seconds)}{begun}", soft_wrap=True)
    preparations = {str(p) for trial in missing for p in sweep.preparations(trial)}
    expected = [estimates.seconds(trial) or 0.0 for trial in estimates.longest_first(missing)]
    gpus = sweep.resources.workers * sweep.resources.gpus
    lines = {
        "Preparations": f"{len(preparations)}, those already in the cache at no cost",
        "Resources": f"{sweep.resources} per trial, {slots} at once",
        "Time": f"about {duration(makespan(expected, slots))} by {estimates.source}" if missing else "none",
        "GPU hours": f"{sum(expected) * gpus / 3600:.2g}" if gpus else "none",
        "Disk": _disk(ledger, probe, len(missing), slots),
        "Storage": str(ledger.storage),
    }
    for name, text in lines.items():
        console.print(f"{name + ':':<14}{text}", soft_wrap=True)


def _disk(ledger: Ledger, probe: Mapping[str, float], trials: int, slots: int) -> str:
    if not probe:
        return "nothing more"
    model = probe["parameters"] * BYTES_PER_PARAMETER
    needed = model * (trials + slots * CHECKPOINT * CHECKPOINTS)
    free = ledger.storage.free()
    return f"about {_size(needed)}" + (f", of {_size(free)} free" if free is not None else "")


def _size(size: float) -> str:
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"
