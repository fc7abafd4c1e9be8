"""Findings about time and memory."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from recctl.diagnosis.findings import Finding, Settings, Values
from recctl.engines import format_bytes

Metadata = Mapping[str, Any]
Epochs = Sequence[Mapping[str, Any]]

# Limits for interactive work: with ten minutes an epoch, a training of 20 epochs takes over three hours.
_SLOW_EPOCH_SECONDS = 600.0
_SLOW_FIT_SECONDS = 3600.0
# Validation should cost less than training; below a minute in total it does not matter.
_MAX_VALIDATION_SHARE = 0.5
_MIN_VALIDATION_SECONDS = 60.0
# Above this share, slightly more data or another process on the machine exhausts the memory.
_TIGHT_MEMORY_SHARE = 0.8
_OUT_OF_MEMORY_MESSAGES = ("out of memory", "MemoryError", "of memory,", "allocate memory")
# Simpler models of similar quality that are faster, or need less memory.
_FASTER_MODELS = {"slim": "ease", "lightgcn": "ncf", "svdpp": "svd"}
_SMALLER_MODELS = {"ease": "sansa", "slim": "sansa"}


def findings(metadata: Metadata, epochs: Epochs, settings: Settings, run_died: bool) -> Iterator[Finding]:
    """Check the time and the memory that a run took.

    Args:
        metadata: The metadata of the run.
        epochs: The lines of history.jsonl.
        settings: The config of the run.
        run_died: Whether the process ended without recording an error.
    """
    yield from _speed(metadata, epochs, settings)
    yield from _memory(metadata, epochs, settings, run_died)
    yield from _reduced_batches(epochs, settings)


def _speed(metadata: Metadata, epochs: Epochs, settings: Settings) -> Iterator[Finding]:
    hardware = metadata.get("environment", {}).get("hardware", {})
    durations = [line["seconds"] for line in epochs if line.get("seconds")]
    epoch_seconds = sum(durations) / len(durations) if durations else None
    fit_seconds = metadata.get("timings", {}).get("fit", 0.0)
    if (epoch_seconds or 0.0) > _SLOW_EPOCH_SECONDS or fit_seconds > _SLOW_FIT_SECONDS:
        yield Finding(
            "slow",
            "speed",
            "warning",
            "training is slow",
            {
                "fit_seconds": fit_seconds,
                "seconds_per_epoch": epoch_seconds,
                "threads": hardware.get("threads"),
                "cpus": hardware.get("cpus"),
            },
            f"an epoch takes more than {_SLOW_EPOCH_SECONDS / 60:.0f} minutes, or a fit more than "
            f"{_SLOW_FIT_SECONDS / 3600:.0f} hour",
            _faster_settings(settings),
        )
    validation_seconds = sum(line.get("validation_seconds") or 0.0 for line in epochs)
    training_seconds = sum(durations)
    total_seconds = validation_seconds + training_seconds
    if validation_seconds > max(_MIN_VALIDATION_SECONDS, _MAX_VALIDATION_SHARE * total_seconds):
        validate_every = settings.config.training.validate_every
        yield Finding(
            "validation-slow",
            "speed",
            "hint",
            "evaluation on validation takes longer than training",
            {
                "validation_seconds": validation_seconds,
                "training_seconds": training_seconds,
                "validate_every": validate_every,
            },
            f"validation takes more than {_MAX_VALIDATION_SHARE:.0%} of the time, and more than "
            f"{_MIN_VALIDATION_SECONDS:.0f} seconds in total",
            settings.suggestions({"training.validate_every": 5 * validate_every}),
        )


def _faster_settings(settings: Settings) -> tuple[str, ...]:
    """Options that cost no quality first: device, batch size; then iterations, a simpler model, less data."""
    gpu: Values = {}
    if settings.params.get("device") == "cpu":
        gpu = {"model.params.device": "auto"}
    return settings.suggestions(
        gpu,
        settings.scaled(("batch_size",), 8, maximum=16384),
        settings.scaled(("n_iterations",), 2 / 3),
        settings.scaled(("max_iter",), 0.5),
        _other_model(settings, _FASTER_MODELS),
        settings.preprocessing("sample_interactions", fraction=0.5),
    )


def _other_model(settings: Settings, replacements: Mapping[str, str]) -> Values:
    name = replacements.get(settings.model.name)
    return {} if name is None else {"model.name": name}


def _memory(metadata: Metadata, epochs: Epochs, settings: Settings, run_died: bool) -> Iterator[Finding]:
    error = str(metadata.get("error", ""))
    memory = metadata.get("memory", {})
    available_bytes = memory.get("available_bytes")
    peaks = [line.get("memory_bytes") for line in epochs]
    peaks.append(memory.get("peak_bytes"))
    peak_bytes = max((peak for peak in peaks if peak), default=None)
    evidence: dict[str, Any] = {"peak_bytes": peak_bytes, "available_bytes": available_bytes}
    is_tight = bool(peak_bytes and available_bytes and peak_bytes > _TIGHT_MEMORY_SHARE * available_bytes)
    has_memory_error = any(message in error for message in _OUT_OF_MEMORY_MESSAGES)
    if has_memory_error or (run_died and is_tight):
        first_line = error.splitlines()[0] if error else "the process ended without an error message"
        yield Finding(
            "memory-out",
            "memory",
            "problem",
            "out of memory",
            evidence | {"error": first_line},
            "the run failed with a memory error, or its process ended after it had used almost all available memory",
            _smaller_settings(settings),
        )
    elif is_tight:
        yield Finding(
            "memory-tight",
            "memory",
            "warning",
            f"memory is almost exhausted: {format_bytes(peak_bytes or 0)} of {format_bytes(available_bytes)} used",
            evidence,
            f"peak memory exceeds {_TIGHT_MEMORY_SHARE:.0%} of what was available when the run started",
            _smaller_settings(settings),
        )


def _reduced_batches(epochs: Epochs, settings: Settings) -> Iterator[Finding]:
    configured = settings.params.get("batch_size")
    used = min((line["batch_size"] for line in epochs if line.get("batch_size")), default=None)
    if not configured or not used or used >= configured:
        return
    n_steps = settings.params.get("accumulation_steps", 1) * -(-configured // used)  # rounded up
    yield Finding(
        "batches-halved",
        "memory",
        "warning",
        "the batch size was reduced because memory ran out",
        {"batch_size": configured, "used": used},
        "batches are smaller than configured; with the suggested values training starts with batches that fit",
        settings.suggestions({"model.params.batch_size": used, "model.params.accumulation_steps": n_steps}),
    )


def _smaller_settings(settings: Settings) -> tuple[str, ...]:
    """Options for less memory: batch size, dimensions, gradient accumulation, the CPU, fewer items, another model."""
    batch_size = settings.params.get("batch_size")
    accumulation_steps = settings.params.get("accumulation_steps")
    accumulation: Values = {}
    if batch_size and accumulation_steps and batch_size >= 8:
        # The effective batch size, and with it the result, stays the same.
        accumulation = {
            "model.params.batch_size": batch_size // 8,
            "model.params.accumulation_steps": 8 * accumulation_steps,
        }
    cpu: Values = {}
    if settings.params.get("device", "cpu") not in ("cpu", "mps"):
        cpu = {"model.params.device": "cpu"}
    return settings.suggestions(
        settings.scaled(("batch_size",), 1 / 8),
        settings.less_capacity(),
        settings.scaled(("n_neighbors",), 0.5),
        accumulation,
        cpu,
        settings.min_item_interactions(),
        _other_model(settings, _SMALLER_MODELS),
    )
