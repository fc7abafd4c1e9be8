"""What trackers record of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import time
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from recctl.tracking.tracker import Tracker

Status = Literal["complete", "failed", "interrupted"]
PartStatus = Literal["complete", "failed", "interrupted", "pruned"]


@dataclass(frozen=True)
class Dataset:
    """The data of a run.

    Attributes:
        name: Name of the source, such as `movielens-100k`.
        hash: Hash of the content.
        source_type: `local`, `http`, `s3`, ... as MLflow names them; `code` for data that a program makes.
        source: Where the data are, as MLflow stores it for this type.
        profile: Numbers of interactions, users and items, the hash of the split.
        context: What the data are used for.
    """

    name: str
    hash: str
    source_type: str
    source: Mapping[str, Any]
    profile: Mapping[str, Any]
    context: str = "training"


@dataclass(frozen=True)
class Record:
    """The record of a training, or of another run, when it begins.

    Attributes:
        title: Name of the record.
        params: Hyperparameters and other settings, flat.
        tags: Identify the record, so that it can be continued.
        properties: Other facts as text, such as the command and the git commit.
        dataset: The data, if they are known.
        started: When the run began, in seconds since 1970.
        parent: Tracker of the run that this one is a part of.
    """

    title: str
    params: Mapping[str, Any]
    tags: Mapping[str, str] = field(default_factory=dict)
    properties: Mapping[str, str] = field(default_factory=dict)
    dataset: Dataset | None = None
    started: float = field(default_factory=time)
    parent: Tracker | None = None
