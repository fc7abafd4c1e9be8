"""Training in several processes that torchrun started: what the first tells the others, and what they do."""

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


def assist() -> None:
    """Take part in the trainings that the first process leads, until it needs nobody any more.

    Each process reads the data itself; nothing else is read, and nothing is written.

    Raises:
        DataError: It reads other data than the first process.
    """
    text, prepared = None, None
    while (said := torch_distributed.receive()) is not None:
        if said["config"] != text:
            text = said["config"]
            loaded = parse_config(text, "config.yaml", Path(), (), CHECKS)
            prepared = prepare(loaded)
        assert prepared is not None
        split, dataset = prepared.split, prepared.dataset
        parts = [split.train, *([split.train_and_validation] if split.has_validation else [])]
        model: Any = stages.build_model(loaded.config)
        model.assist(_the_same([part(dataset) for part in parts], said["interactions"]))


def _the_same(parts: list[InteractionDataset], content_hash: str) -> InteractionDataset:
    for part in parts:
        if part.content_hash() == content_hash:
            return part
    rank, _ = torch_distributed.launched_rank()
    raise DataError(f"process {rank} reads other interactions than the first process; give all of them the same source")
