"""Findings of the diagnosis, and the settings that they suggest."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from recctl.config import LoadedConfig, to_yaml
from recctl.config.loading import parse_config
from recctl.errors import ConfigError
from recctl.experiment import CHECKS
from recctl.models.registry import model_class

Severity = Literal["problem", "warning", "hint"]
Area = Literal["data", "convergence", "overfitting", "speed", "memory"]
Values = dict[str, Any]
"""New values for some dotted keys of a config."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong or could be better.

    Attributes:
        key: Stable identifier, such as `loss-flat`.
        area: What it concerns.
        severity: "problem": the results are of no use; "warning": they are worse than they could be; "hint": good to
            know when reading them.
        title: A description in one line.
        evidence: The values that led to the finding; None where one is unknown.
        rule: The threshold that they exceeded, and the reason for it where it is not obvious.
        suggestions: `--set` options to try, in this order.
    """

    key: str
    area: Area
    severity: Severity
    title: str
    evidence: Mapping[str, Any]
    rule: str
    suggestions: tuple[str, ...] = ()

    def described_evidence(self) -> list[str]:
        """The known values of the evidence, each with its name: `["best epoch 3", "drop 0.25"]`."""
        return [
            f"{name.replace('_', ' ')} {_format_value(value)}"
            for name, value in self.evidence.items()
            if value is not None
        ]

    def plain(self) -> dict[str, Any]:
        """The finding as plain values, for JSON."""
        return asdict(self) | {"suggestions": list(self.suggestions)}


def _format_value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


class Settings:
    """A config, and options for changing it. Each option is expressed relative to the present values.

    Attributes:
        loaded: The config.
        config: Its values.
        model: The class of its model.
        params: The hyperparameters of the model, defaults included.
    """

    def __init__(self, loaded: LoadedConfig) -> None:
        self.loaded = loaded
        self.config = loaded.config
        self.model = model_class(self.config.model.name)
        self.params = self.model.check(self.config.model.params)[0]

    def suggestions(self, *options: Values | Iterable[Values]) -> tuple[str, ...]:
        """The options as `--set` command line options.

        Args:
            *options: Values, or several alternatives, in the order of preference.

        Returns:
            One text for each option that changes something and leaves the config valid, without repetition.
        """
        alternatives: list[Values] = []
        for option in options:
            if isinstance(option, dict):
                alternatives.append(option)
            else:
                alternatives += option
        return tuple(dict.fromkeys(_set_options(values) for values in alternatives if self._is_useful(values)))

    def _is_useful(self, values: Values) -> bool:
        """Whether the values change the config, and the changed config is valid."""
        if all(self._present_value(key) == value for key, value in values.items()):
            return False
        # Parsed as the command line parses them, since --set model.name and split.strategy also remove options that the
        # new model or strategy does not have.
        try:
            parse_config(self._text, self.loaded.origin, self.loaded.base, _overrides(values), CHECKS)
        except ConfigError:
            return False
        return True

    @cached_property
    def _text(self) -> str:
        return to_yaml(dict(self.loaded.given))

    def _present_value(self, key: str) -> Any:
        if key.startswith("model.params."):
            return self.params.get(key.removeprefix("model.params."))
        value: Any = self.config
        for name in key.split("."):
            value = getattr(value, name, None)
        return value

    # ---- options

    def scaled(
        self, names: Iterable[str], factor: float, minimum: float = 0, maximum: float = float("inf")
    ) -> list[Values]:
        """An option for each of the named hyperparameters that the model has: its value times a factor, clipped."""
        options: list[Values] = []
        for name in names:
            value = self.params.get(name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value:
                continue
            clipped = min(max(value * factor, minimum), maximum)
            new_value = max(1, round(clipped)) if isinstance(value, int) else float(f"{clipped:.3g}")
            is_in_direction = (new_value > value) == (factor > 1)  # clipping may have reversed the change
            if is_in_direction and new_value != value:
                options.append({f"model.params.{name}": new_value})
        return options

    def learning_rate(self, factor: float) -> list[Values]:
        """The learning rate times a factor."""
        return self.scaled(("learning_rate", "lr"), factor)

    def more_epochs(self, factor: float = 2.5) -> list[Values]:
        """A higher maximum number of epochs."""
        return self.scaled(("epochs", "n_epochs"), factor)

    def less_capacity(self) -> list[Values]:
        """Half the embedding dimension; and one hidden layer less, the widest."""
        options = self.scaled(("embedding_dim", "n_factors"), 0.5, minimum=4)
        layers = self.params.get("hidden_layers")
        if isinstance(layers, list) and len(layers) > 1:
            options.append({"model.params.hidden_layers": layers[1:]})
        return options

    def min_user_interactions(self) -> Values:
        """Twice the minimum number of interactions of a user, at least 5."""
        return {"data.min_user_interactions": max(5, 2 * self.config.data.min_user_interactions)}

    def min_item_interactions(self) -> Values:
        """Twice the minimum number of interactions of an item, at least 5."""
        return {"data.min_item_interactions": max(5, 2 * self.config.data.min_item_interactions)}

    def preprocessing(self, name: str, **params: Any) -> Values:
        """One more preprocessing step; nothing if there is one of that name."""
        steps = self.config.data.preprocess
        if any(name in step for step in steps):
            return {}
        new_step: Any = {name: params}
        return {"data.preprocess": [*steps, new_step]}

    def normalized_ratings(self) -> Values:
        """Ratings scaled to a common range; nothing if the model ignores ratings."""
        if self.config.data.implicit:
            return {}
        return self.preprocessing("normalize_ratings", method="minmax")

    def early_stopping(self) -> Values:
        """Early stopping, with a validation part if there is none; nothing if training stops early already."""
        if self.config.training.early_stopping is not None:
            return {}
        options: dict[str, Any] = {}
        if not self.config.has_validation:
            key, value = self.config.validation_setting
            options[key] = value
        options["training.early_stopping"] = {"patience": 5}
        return options


def _overrides(values: Values) -> list[str]:
    return [f"{key}={_yaml_value(value)}" for key, value in values.items()]


def _set_options(values: Values) -> str:
    return " ".join(f"--set {shlex.quote(override)}" for override in _overrides(values))


def _yaml_value(value: Any) -> str:
    """A value as YAML in one line; JSON is a subset of YAML."""
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)
