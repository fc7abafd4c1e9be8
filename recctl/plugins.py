"""What installed packages add to recctl, by entry points; and how a built-in of the same name comes first."""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal

from recctl.errors import ConfigError, RecctlError

Group = Literal["models", "metrics", "sources", "splits", "strategies", "exports"]


@cache
def offered(group: Group) -> dict[str, EntryPoint]:
    """What other packages offer, by name: the entry points of the group `recctl.GROUP`. Nothing is imported."""
    return {point.name: point for point in entry_points(group=f"recctl.{group}")}


def load(group: Group, name: str) -> Any:
    """Import what a package offers under a name.

    Raises:
        ConfigError: It can't be imported; the package is named.
    """
    point = offered(group)[name]
    try:
        return point.load()
    except RecctlError:
        raise
    except Exception as error:  # whatever someone else's package does when it is imported
        package = point.dist.name if point.dist else point.value
        raise ConfigError(
            f"{group}: {name} of the package {package} can't be imported: {type(error).__name__}: {error}"
        ) from error
