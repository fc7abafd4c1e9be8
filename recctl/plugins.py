"""What installed packages add to recctl, by entry points. A built-in of the same name comes first."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Literal, TypeVar

from recctl.errors import ConfigError, RecctlError

Group = Literal["models", "metrics", "sources", "strategies", "exports"]
T = TypeVar("T")


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


class Registry(Mapping[str, T], Generic[T]):
    """What is built in by name, and what packages offer beside it; that is imported when it is asked for.

    Args:
        group: Where packages offer it.
        built_in: What recctl has itself.
    """

    def __init__(self, group: Group, built_in: Mapping[str, T]) -> None:
        self._group: Group = group
        self._built_in = built_in

    def __getitem__(self, name: str) -> T:
        if name in self._built_in:
            return self._built_in[name]
        if name not in offered(self._group):
            raise KeyError(name)
        found: T = load(self._group, name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in offered(self._group)

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        yield from (name for name in offered(self._group) if name not in self._built_in)

    def __len__(self) -> int:
        return len(list(iter(self)))
