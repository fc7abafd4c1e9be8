"""A commented config for a model, written from the declarations of the schema and the model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from recctl.config import schema
from recctl.config.rendering import to_yaml

# The keys that beginners need; the schema and `recctl config show` have the others.
_SECTIONS: tuple[tuple[str, type[BaseModel], dict[str, Any]], ...] = (
    ("data", schema.DataConfig, {"source": "movielens-100k", "implicit": None, "min_user_interactions": 5}),
    ("split", schema.RandomSplit, {"strategy": "random", "test_size": 0.2, "val_size": 0.1}),
    (
        "evaluation",
        schema.EvaluationConfig,
        {"metrics": ["precision", "recall", "ndcg", "hit_rate"], "k_values": [5, 10, 20]},
    ),
)


def template(model: str, parameters: Mapping[str, tuple[Any, str]], implicit: bool | None = None) -> str:
    """Return the text of a config with a comment on each value.

    Args:
        model: Name of the model.
        parameters: Default value and description of each hyperparameter.
        implicit: Value of `data.implicit`; None leaves the key out.
    """
    seed_line = _line("seed", 42, schema.Config.model_fields["seed"].description)
    blocks = [f"# recctl train THIS_FILE\n{seed_line}"]
    for section_name, section, values in _SECTIONS:
        if section_name == "evaluation":
            blocks.append(_model_block(model, parameters))
        section_lines = [f"{section_name}:"]
        for config_key, default in values.items():
            value = implicit if config_key == "implicit" else default
            if value is not None:
                section_lines.append(_line(config_key, value, section.model_fields[config_key].description, 2))
        blocks.append("\n".join(section_lines))
    return "\n\n".join(blocks) + "\n"


def _model_block(name: str, parameters: Mapping[str, tuple[Any, str]]) -> str:
    block_lines = ["model:", _line("name", name, schema.ModelConfig.model_fields["name"].description, 2)]
    if parameters:
        block_lines.append("  params:")
        block_lines += [
            _line(parameter_name, default, description, 4)
            for parameter_name, (default, description) in parameters.items()
        ]
    return "\n".join(block_lines)


def _line(key: str, value: Any, comment: str | None, indent: int = 0) -> str:
    one_line_comment = " ".join((comment or "").split())
    return f"{' ' * indent}{to_yaml({key: value}).rstrip()}  # {one_line_comment}"
