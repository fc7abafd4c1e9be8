"""Whether a training takes too long, or more memory than there is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recctl.diagnosis.findings import Finding, Settings, Values
from recctl.engines import format_bytes

# The chapter's figure: ten minutes an epoch, and hours for all of it.
_SLOW_EPOCH, _SLOW_FIT = 600.0, 3600.0
# Measuring more than training is too much of it; below a minute it is nobody's trouble.
_SHARE, _WORTH_IT = 0.5, 60.0
# Above, a little more data or another program on the machine ends the run.
_TIGHT = 0.8
_OUT = ("out of memory", "MemoryError", "of memory,", "allocate memory")
# What a model may be replaced by that does the like for less time.
_SIMPLER = {"slim": "ease", "lightgcn": "ncf", "svdpp": "svd"}
_SMALLER = {"ease": "sansa", "slim": "sansa"}


def findings(
    metadata: Mapping[str, Any], history: Sequence[Mapping[str, Any]], settings: Settings, died: bool
) -> Iterator[Finding]:
    """What is to be said of what a run took.

    Args:
        metadata: Of the run.
        history: The lines of history.jsonl.
        settings: Its config.
        died: Whether its process is gone without a word.
    """
    yield from _speed(metadata, history, settings)
    yield from _memory(metadata, history, settings, died)


def _speed(metadata: Mapping[str, Any], history: Sequence[Mapping[str, Any]], settings: Settings) -> Iterator[Finding]:
    hardware = metadata.get("environment", {}).get("hardware", {})
    taken = [line["seconds"] for line in history if line.get("seconds")]
    epoch = sum(taken) / len(taken) if taken else 0.0
    fit = metadata.get("timings", {}).get("fit", 0.0)
    if epoch > _SLOW_EPOCH or fit > _SLOW_FIT:
        evidence = {"fit_seconds": fit, "seconds_per_epoch": epoch or None}
        yield Finding(
            "slow",
            "speed",
            "warning",
            "training is slow",
            evidence | {name: hardware.get(name) for name in ("threads", "cpus")},
            f"an epoch of more than {_SLOW_EPOCH / 60:.0f} minutes, or a fit of more than {_SLOW_FIT / 3600:.0f} hour",
            _faster(settings),
        )
    validation = sum(line.get("validation_seconds") or 0.0 for line in history)
    if validation > _WORTH_IT and validation > _SHARE * (validation + sum(taken)):
        every = settings.config.training.validate_every
        yield Finding(
            "validation-slow",
            "speed",
            "hint",
            "measuring validation takes longer than training",
            {"validation_seconds": validation, "training_seconds": sum(taken), "validate_every": every},
            f"more than {_SHARE:.0%} of the time, and more than a minute",
            settings.lines({"training.validate_every": 5 * every}),
        )


def _faster(settings: Settings) -> tuple[str, ...]:
    """In the chapter's order: device, batches, iterations, a simpler model, a sample of the data."""
    device = [{"model.params.device": "auto"}] if settings.params.get("device") == "cpu" else []
    simpler = _SIMPLER.get(settings.model.name)
    return settings.lines(
        device,
        settings.scaled(("batch_size",), 8, most=16384),
        settings.scaled(("n_iterations",), 2 / 3),
        settings.scaled(("max_iter",), 0.5),
        [{"model.name": simpler}] if simpler else [],
        settings.step("sample_interactions", fraction=0.5),
    )


def _memory(
    metadata: Mapping[str, Any], history: Sequence[Mapping[str, Any]], settings: Settings, died: bool
) -> Iterator[Finding]:
    error = str(metadata.get("error", ""))
    there = metadata.get("memory", {}).get("available_bytes")
    peaks = [line.get("memory_bytes") for line in history] + [metadata.get("memory", {}).get("peak_bytes")]
    peak = max((value for value in peaks if value), default=None)
    evidence: dict[str, Any] = {"peak_bytes": peak, "available_bytes": there}
    tight = bool(peak and there and peak > _TIGHT * there)
    if any(words in error for words in _OUT) or (died and tight):
        yield Finding(
            "memory-out",
            "memory",
            "problem",
            "out of memory",
            evidence | {"error": error.splitlines()[0] if error else "the process is gone"},
            "what the run said at its end; or its process gone, after it took nearly all there was",
            _smaller(settings),
        )
    elif tight:
        yield Finding(
            "memory-tight",
            "memory",
            "warning",
            f"memory was nearly all taken: {format_bytes(peak or 0)} of {format_bytes(there)}",
            evidence,
            f"a peak above {_TIGHT:.0%} of what was free when the run began",
            _smaller(settings),
        )
    yield from _halved(history, settings)


def _halved(history: Sequence[Mapping[str, Any]], settings: Settings) -> Iterator[Finding]:
    wanted = settings.params.get("batch_size")
    used = min((line["batch_size"] for line in history if line.get("batch_size")), default=None)
    if not wanted or not used or used >= wanted:
        return
    steps = settings.params.get("accumulation_steps", 1) * -(-wanted // used)
    yield Finding(
        "batches-halved",
        "memory",
        "warning",
        "memory ran out, and went on with smaller batches",
        {"batch_size": wanted, "used": used},
        "batches smaller than the config's; saying so from the start spares the failures",
        settings.lines({"model.params.batch_size": used, "model.params.accumulation_steps": steps}),
    )


def _smaller(settings: Settings) -> tuple[str, ...]:
    """In the chapter's order: batches, dimension, accumulation, the CPU; for models of other kinds, fewer items."""
    batch, steps = settings.params.get("batch_size"), settings.params.get("accumulation_steps")
    both: Values = {}
    if batch and steps and batch >= 8:
        both = {"model.params.batch_size": batch // 8, "model.params.accumulation_steps": 8 * steps}
    cuda = settings.params.get("device") in ("auto", "cuda") and "device" in settings.params
    smaller = _SMALLER.get(settings.model.name)
    return settings.lines(
        settings.scaled(("batch_size",), 1 / 8),
        settings.less_capacity(),
        settings.scaled(("n_neighbors",), 0.5),
        both,
        [{"model.params.device": "cpu"}] if cuda else [],
        settings.more_of_items(),
        [{"model.name": smaller}] if smaller else [],
    )
