"""Training in several processes started by torchrun: what the processes other than the first do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recctl.config import parse_config
from recctl.data.dataset import InteractionDataset
from recctl.data.splitting import Split
from recctl.engines import torch_distributed
from recctl.errors import DataError
from recctl.experiment import stages
from recctl.experiment.config_checks import CHECKS
from recctl.experiment.data import read_dataset
from recctl.runs import layout


def assist() -> None:
    """Take part in the trainings of the first process until it ends.

    Each process reads the data itself and writes nothing. The first process sends the config, the split, and the hash
    of the interactions that it fits on (train, or train + validation).

    Raises:
        DataError: This process reads other data than the first one.
    """
    config_text = None
    dataset = None
    while (message := torch_distributed.receive()) is not None:
        if message["config"] != config_text:
            config_text = message["config"]
            loaded = parse_config(config_text, layout.CONFIG, Path(), (), CHECKS)
            dataset = read_dataset(loaded).dataset
        assert dataset is not None
        # Sent, not made again: the split of a run may be another than the one that its config describes.
        split = Split(message["parts"], "")
        possible_parts = [split.train(dataset)]
        if split.has_validation:
            possible_parts.append(split.train_and_validation(dataset))
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
