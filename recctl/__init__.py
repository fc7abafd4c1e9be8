"""recctl: recommender experiments from YAML, and the same parts as a library.

Names are resolved when they are first used (PEP 562), so that importing recctl costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Where each public name lives. The models' own names are asked of the registry.
_HOMES = {
    "InteractionDataset": "recctl.data",
    "load_movielens": "recctl.data",
}

if TYPE_CHECKING:
    from recctl.data.dataset import InteractionDataset as InteractionDataset

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'recctl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
