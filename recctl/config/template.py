"""A commented config for a model, made from the declarations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from recctl.config import schema
from recctl.config.rendering import to_yaml

# What a beginner sees of each section; the rest is in the schema, and in `recctl config show`.
_SHOWN: tuple[tuple[str, type[BaseModel], dict[str, Any]], ...] = (
    ("data", schema.DataConfig, {"source": "movielens-100k", "implicit": None, "min_user_interactions": 5}),
    ("split", schema.RandomSplit, {"strategy": "random", "test_size": 0.2, "val_size": 0.1}),
    (
        "evaluation",
        schema.EvaluationConfig,
        {"metrics": ["precision", "recall", "ndcg", "hit_rate"], "k_values": [5, 10, 20]},
    ),
)


def template(model: str, parameters: Mapping[str, tuple[Any, str]], implicit: bool | None = None) -> str:
    """A config with a comment at every value.

    Args:
        model: The model's name.
        parameters: Default and meaning of each of its hyperparameters.
        implicit: Whether it is to learn from interactions as such, not from ratings; None: not said, as it likes.
    """
    blocks = [f"# recctl train THIS_FILE\n{_line('seed', 42, schema.Config.model_fields['seed'].description)}"]
    for name, section, values in _SHOWN:
        if name == "evaluation":
            blocks.append(_model(model, parameters))
        if "implicit" in values:
            values = {key: implicit if key == "implicit" else value for key, value in values.items()}
        lines = [
            _line(key, value, section.model_fields[key].description, 2)
            for key, value in values.items()
            if value is not None
        ]
        blocks.append("\n".join([f"{name}:", *lines]))
    return "\n\n".join(blocks) + "\n"


def _model(name: str, parameters: Mapping[str, tuple[Any, str]]) -> str:
    lines = ["model:", _line("name", name, schema.ModelConfig.model_fields["name"].description, 2)]
    if parameters:
        lines.append("  params:")
        lines += [_line(key, default, meaning, 4) for key, (default, meaning) in parameters.items()]
    return "\n".join(lines)


def _line(key: str, value: Any, comment: str | None, indent: int = 0) -> str:
    return f"{' ' * indent}{to_yaml({key: value}).rstrip()}  # {' '.join((comment or '').split())}"
