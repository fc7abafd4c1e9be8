"""What a diagnosis finds, and the settings it says to try."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from recctl.config import LoadedConfig
from recctl.config.loading import with_values
from recctl.config.yaml_tree import Path
from recctl.errors import ConfigError
from recctl.experiment import CHECKS
from recctl.models.registry import model_class

Severity = Literal["problem", "warning", "hint"]
Area = Literal["data", "convergence", "overfitting", "speed", "memory"]
Values = Mapping[str, Any]
"""Dotted keys of a config, and values for them."""


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or could be better.

    Attributes:
        key: Its name, which stays the same: `loss-flat`.
        area: What it is about.
        severity: problem: what came out is of no use; warning: it is worth less than it could be; hint: to be known.
        title: What is the matter.
        evidence: The figures it was seen by.
        rule: From where on it counts, and why there.
        suggestions: What to try, in this order, each ready for the command line.
    """

    key: str
    area: Area
    severity: Severity
    title: str
    evidence: Mapping[str, Any]
    rule: str
    suggestions: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {**asdict(self), "suggestions": list(self.suggestions)}


class Settings:
    """A config, and what can be changed in it."""

    def __init__(self, loaded: LoadedConfig) -> None:
        self.loaded = loaded
        self.config = loaded.config
        self.model = model_class(self.config.model.name)
        self.params = self.model.check(self.config.model.params)[0]

    def lines(self, *options: Values | Iterable[Values]) -> tuple[str, ...]:
        """The `--set` lines of those options that this config takes, and that change something."""
        flat = [each for option in options for each in ([option] if isinstance(option, Mapping) else option)]
        return tuple(dict.fromkeys(_line(values) for values in flat if values and self._takes(values)))

    def _takes(self, values: Values) -> bool:
        changed: dict[Path, Any] = {tuple(key.split(".")): value for key, value in values.items()}
        if all(self._present(path) == value for path, value in changed.items()):
            return False
        if ("model", "name") in changed:  # another model does not inherit what was written for this one
            changed |= {("model", "params"): {}, ("training", "early_stopping"): None}
        try:
            with_values(self.loaded, changed, CHECKS)
        except ConfigError:
            return False
        return True

    def _present(self, path: Path) -> Any:
        if path[:2] == ("model", "params"):
            return self.params.get(str(path[2]))
        here: Any = self.config
        for name in path:
            here = getattr(here, str(name), None)
        return here

    # ---- options, in terms of the present values

    def scaled(self, names: Iterable[str], factor: float, least: float = 0, most: float = float("inf")) -> list[Values]:
        """Each of some hyperparameters, as far as the model has them, times a factor, within limits."""
        found: list[Values] = []
        for name in names:
            value = self.params.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value:
                continue
            new = min(max(value * factor, least), most)
            new = max(1, round(new)) if isinstance(value, int) else float(f"{new:.3g}")
            if (new > value) == (factor > 1) and new != value:
                found.append({f"model.params.{name}": new})
        return found

    def slower_steps(self, factor: float) -> list[Values]:
        """A step size that is this much lower (or higher)."""
        return self.scaled(("learning_rate", "lr"), factor)

    def more_epochs(self, factor: float = 2.5) -> list[Values]:
        """As in the chapter: 50 for 20."""
        return self.scaled(("epochs", "n_epochs"), factor)

    def less_capacity(self) -> list[Values]:
        """Half the length of vectors, and the widest layer gone."""
        found = self.scaled(("embedding_dim", "n_factors"), 0.5, least=4)
        layers = self.params.get("hidden_layers")
        if isinstance(layers, list) and len(layers) > 1:
            found.append({"model.params.hidden_layers": layers[1:]})
        return found

    def more_of_users(self) -> Values:
        """A higher least number of interactions of a user: at least 5, or twice what it is."""
        return {"data.min_user_interactions": max(5, 2 * self.config.data.min_user_interactions)}

    def more_of_items(self) -> Values:
        """A higher least number of interactions of an item."""
        return {"data.min_item_interactions": max(5, 2 * self.config.data.min_item_interactions)}

    def step(self, name: str, **params: Any) -> Values:
        """One more step of preprocessing; none where there is one of the name."""
        steps = self.config.data.preprocess
        return {} if any(name in step for step in steps) else {"data.preprocess": [*steps, {name: params}]}

    def early_stopping(self) -> Values:
        """Early stopping, and a validation part where there is none."""
        if self.config.training.early_stopping is not None:
            return {}
        validation = {} if self.config.has_validation else {"split.val_size": 0.1}
        return {**validation, "training.early_stopping": {"patience": 5}}


def _line(values: Values) -> str:
    return " ".join(f"--set {shlex.quote(f'{key}={_text(value)}')}" for key, value in values.items())


def _text(value: Any) -> str:
    """A value as YAML in one line."""
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)
