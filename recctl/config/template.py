"""A commented config for a model that no config comes with, written from its declarations and those of the schema."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from recctl.config import schema
from recctl.config.descriptions import descriptions
from recctl.config.rendering import to_yaml

# The keys that beginners need; the schema and `recctl config show` have the others.
_EVALUATION = {"metrics": ["precision", "recall", "ndcg", "hit_rate"], "k_values": [5, 10, 20]}


def template(
    model: str,
    parameters: Mapping[str, tuple[Any, str]],
    *,
    implicit: bool = True,
    in_order: bool = False,
    in_epochs: bool = False,
) -> str:
    """Return the text of a config with a comment on each value.

    Args:
        model: Name of the model.
        parameters: Default value and description of each hyperparameter.
        implicit: Value of `data.implicit`.
        in_order: Whether the model reads the order of interactions: the split then holds out the last ones.
        in_epochs: Whether the model is trained in epochs: training then stops early.
    """
    seed_line = _line("seed", 42, descriptions(schema.Config)["seed"])
    data = {"source": "movielens-100k", "implicit": implicit, "min_user_interactions": 5}
    blocks = [f"# recctl train THIS_FILE\n{seed_line}", _block("data", schema.DataConfig, data)]
    if in_order:
        blocks.append(_block("split", schema.LeaveLastSplit, {"strategy": "leave_last", "val_size": 1}))
    else:
        random_split = {"strategy": "random", "test_size": 0.2, "val_size": 0.1}
        blocks.append(_block("split", schema.RandomSplit, random_split))
    blocks.append(_model_block(model, parameters))
    if in_epochs:
        stopping = _block("early_stopping", schema.EarlyStoppingConfig, {"patience": 5})
        blocks.append("training:\n" + textwrap.indent(stopping, "  "))
    blocks.append(_block("evaluation", schema.EvaluationConfig, _EVALUATION))
    return "\n\n".join(blocks) + "\n"


def _block(name: str, section: type[BaseModel], values: Mapping[str, Any]) -> str:
    lines = [_line(key, value, descriptions(section)[key], 2) for key, value in values.items()]
    return "\n".join([f"{name}:", *lines])


def _model_block(name: str, parameters: Mapping[str, tuple[Any, str]]) -> str:
    block_lines = ["model:", _line("name", name, descriptions(schema.ModelConfig)["name"], 2)]
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
