"""Training in several processes started by torchrun: what the processes other than the first do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recctl.config import parse_config
from recctl.data.dataset import InteractionDataset
from recctl.engines import torch_distributed
from recctl.errors import DataError
from recctl.experiment import stages
from recctl.experiment.config_checks import CHECKS
from recctl.experiment.data import prepare
from recctl.runs import layout


def assist() -> None:
    """Take part in the trainings of the first process until it ends.

    Each process reads the data itself and writes nothing. The first process sends the config, and the hash of the
    interactions that it fits on (train, or train + validation).

    Raises:
        DataError: This process reads other data than the first one.
    """
    config_text = None
    prepared = None
    while (message := torch_distributed.receive()) is not None:
        if message["config"] != config_text:
            config_text = message["config"]
            loaded = parse_config(config_text, layout.CONFIG, Path(), (), CHECKS)
            prepared = prepare(loaded)
        assert prepared is not None
        possible_parts = [prepared.split.train(prepared.dataset)]
        if prepared.split.has_validation:
            possible_parts.append(prepared.split.train_and_validation(prepared.dataset))
        model: Any = stages.build_model(loaded.config)
        model.assist(_part_with_hash(possible_parts, message["interactions"]))


def _part_with_hash(parts: list[InteractionDataset], content_hash: str) -> InteractionDataset:
    for part in parts:
        if part.content_hash() == content_hash:
            return part
    process_rank, _ = torch_distributed.launched_rank()
    raise DataError(
        f"process {process_rank} reads other interactions than the first process; give all processes the same data"
    )
