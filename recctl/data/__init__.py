"""Interactions: reading, preprocessing, describing and splitting them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Public names and their modules, imported at first use: reading a file does not import splitting, for example.
_MODULES = {
    "InteractionDataset": "recctl.data.dataset",
    "binarize_implicit_feedback": "recctl.data.preprocessing",
    "drop_duplicates": "recctl.data.preprocessing",
    "filter_by_interaction_count": "recctl.data.preprocessing",
    "generate": "recctl.data.synthetic",
    "load_movielens": "recctl.data.sources",
    "normalize_ratings": "recctl.data.preprocessing",
    "sample_interactions": "recctl.data.preprocessing",
    "select_time_window": "recctl.data.preprocessing",
}

if TYPE_CHECKING:
    from recctl.data.dataset import InteractionDataset as InteractionDataset
    from recctl.data.preprocessing import binarize_implicit_feedback as binarize_implicit_feedback
    from recctl.data.preprocessing import drop_duplicates as drop_duplicates
    from recctl.data.preprocessing import filter_by_interaction_count as filter_by_interaction_count
    from recctl.data.preprocessing import normalize_ratings as normalize_ratings
    from recctl.data.preprocessing import sample_interactions as sample_interactions
    from recctl.data.preprocessing import select_time_window as select_time_window
    from recctl.data.sources import load_movielens as load_movielens
    from recctl.data.synthetic import generate as generate


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module 'recctl.data' has no attribute {name!r}")
