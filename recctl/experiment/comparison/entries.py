"""What is compared: models of configs and runs, named apart, and of one data and split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from recctl.config import LoadedConfig
from recctl.config.loading import with_values
from recctl.errors import ConfigError, DataError
from recctl.evaluation import METRICS
from recctl.experiment.config_checks import CHECKS, config_of_model, load
from recctl.experiment.data import resolve_config
from recctl.runs import Run, RunStore
from recctl.runs.store import run_hashes

# What models may differ in; the rest of their configs must be the same.
_OWN = ("model", "models", "training", "tuning", "tracking", "engine")


@dataclass(frozen=True)
class ComparisonEntry:
    """One of the models that are compared.

    Attributes:
        label: What the table calls it; no other is called so.
        fuller: What it is called where several have the same label.
        loaded: Its config, of this model alone.
        run: The run it is, where it is one that exists.
    """

    label: str
    fuller: str
    loaded: LoadedConfig
    run: Run | None = None


def collect_entries(
    sources: Sequence[str | Path | Run], store: RunStore, overrides: Sequence[str] = ()
) -> list[ComparisonEntry]:
    """The contenders that configs (files) and runs (references) mean, each with a label of its own.

    Raises:
        ConfigError: Fewer than two, or they differ in more than the model and its training.
        DataError: Runs of different data or splits.
    """
    found = [contender for source in sources for contender in _of_source(source, store, overrides)]
    if overrides and all(contender.run for contender in found):
        raise ConfigError("--set is for configs; runs are what they are")
    if len(found) < 2:
        raise ConfigError("compare needs two models: configs, a config with several models:, or runs")
    _require_alike(found)
    return _named_apart(found)


def _of_source(source: str | Path | Run, store: RunStore, overrides: Sequence[str]) -> Iterator[ComparisonEntry]:
    if isinstance(source, Run) or Path(source).suffix not in (".yaml", ".yml"):
        run = source if isinstance(source, Run) else store.resolve(str(source))
        loaded = load(run.path / "config.yaml")
        yield ComparisonEntry(loaded.config.model.name, run.id, loaded, run)
        return
    loaded = _covering(load(Path(source), overrides))
    if not loaded.config.models:
        yield ComparisonEntry(loaded.config.model.name, f"{loaded.config.model.name} ({Path(source).stem})", loaded)
        return
    yield from entries_of_config(loaded)


def _covering(loaded: LoadedConfig) -> LoadedConfig:
    """The same config, with coverage measured where rankings are: accuracy alone hides what it costs."""
    section = loaded.config.evaluation
    ranking = any(METRICS[name].task == "ranking" for name in section.metrics)
    if not ranking or section.n_candidates or "coverage" in section.metrics:
        return loaded
    return with_values(loaded, {("evaluation", "metrics"): [*section.metrics, "coverage"]}, CHECKS)


def entries_of_config(loaded: LoadedConfig) -> Iterator[ComparisonEntry]:
    """The contenders of a config with several models."""
    for place, entry in enumerate(loaded.config.models):
        alone = config_of_model(loaded.config, place)
        values: dict[tuple[str | int, ...], Any] = {
            ("model",): alone.model.model_dump(),
            ("training",): alone.training.model_dump(),
            ("models",): [],
        }
        params = ", ".join(f"{name}={value}" for name, value in _given_params(loaded, place).items())
        yield ComparisonEntry(entry.label or entry.name, f"{entry.name}({params})", with_values(loaded, values, CHECKS))


def _given_params(loaded: LoadedConfig, place: int) -> dict[str, Any]:
    given = loaded.given["models"][place].get("params")
    return dict(given or {})


def _named_apart(contenders: list[ComparisonEntry]) -> list[ComparisonEntry]:
    counts = Counter(contender.label for contender in contenders)
    labels = [c.label if counts[c.label] == 1 else c.fuller for c in contenders]
    counts = Counter(labels)
    seen: Counter[str] = Counter()
    named = []
    for contender, label in zip(contenders, labels, strict=True):
        seen[label] += 1
        named.append(replace(contender, label=label if counts[label] == 1 else f"{label} #{seen[label]}"))
    return named


# ---- may they be compared


def _require_alike(contenders: list[ComparisonEntry]) -> None:
    runs = [contender.run for contender in contenders if contender.run]
    for run in runs[1:]:
        require_same_parts(runs[0], run)
    configs = [contender for contender in contenders if not contender.run]
    wanted = _shared(contenders[0].loaded)
    for contender in contenders[1:]:
        whole = contenders[0] in configs and contender in configs
        here = _shared(contender.loaded)
        keys = [key for key in sorted(wanted.keys() | here.keys()) if whole or key in _PROTOCOL]
        differing = [
            f"{key} is {wanted.get(key)!r} in {_origin(contenders[0])}, {here.get(key)!r} in {_origin(contender)}"
            for key in keys
            if wanted.get(key) != here.get(key)
        ]
        if differing:
            hint = "models are compared on the same data, split and measurement"
            raise ConfigError(*(f"{line}; {hint}" for line in differing))


_PROTOCOL = ("evaluation.n_candidates", "evaluation.relevance_threshold", "evaluation.on_unknown")


def require_same_parts(one: Run, other: Run) -> None:
    """Refuse two runs whose figures are of different users and items.

    Raises:
        DataError: Naming what differs.
    """
    for what, a, b in zip(("data", "split"), run_hashes(one), run_hashes(other), strict=True):
        if a != b:
            raise DataError(
                f"{one.id} and {other.id} are of different {what} (hashes {str(a)[:12]} and {str(b)[:12]}): their "
                "figures can't be compared; fit one of them anew on what the other was fitted on"
            )


def _origin(contender: ComparisonEntry) -> str:
    return contender.run.id if contender.run else f"{contender.loaded.origin} ({contender.label})"


def _shared(loaded: LoadedConfig) -> dict[str, Any]:
    """Dotted keys and values of all that must be the same."""
    flat: dict[str, Any] = {}

    def walk(values: dict[str, Any], prefix: str) -> None:
        for name, value in values.items():
            if isinstance(value, dict):
                walk(value, f"{prefix}{name}.")
            else:
                flat[prefix + name] = value

    walk({name: value for name, value in resolve_config(loaded).items() if name not in _OWN}, "")
    return flat
