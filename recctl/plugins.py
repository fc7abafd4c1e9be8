"""Models, metrics, sources, strategies and export formats of installed packages, found by their entry points.

A built-in of the same name takes precedence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Generic, Literal, TypeVar

from recctl.errors import ConfigError, RecctlError

Group = Literal["models", "metrics", "sources", "strategies", "exports"]
T = TypeVar("T")


@cache
def available(group: Group) -> dict[str, EntryPoint]:
    """Return the entry points of the group `recctl.GROUP` by name, without importing them."""
    return {point.name: point for point in _all_entry_points().select(group=f"recctl.{group}")}


@cache
def _all_entry_points() -> Any:
    # Read once for all groups: the metadata of every installed package are searched.
    return entry_points()


def load(group: Group, name: str) -> Any:
    """Import the object that a package registers under a name.

    Raises:
        ConfigError: It can't be imported; the message names the package.
    """
    entry_point = available(group)[name]
    try:
        return entry_point.load()
    except RecctlError:
        raise
    except Exception as error:  # importing a third-party package can raise anything
        package = entry_point.dist.name if entry_point.dist else entry_point.value
        raise ConfigError(
            f"{group}: {name} of the package {package} can't be imported: {type(error).__name__}: {error}"
        ) from error


class Registry(Mapping[str, T], Generic[T]):
    """Built-in objects by name, followed by those of plug-ins, which are imported at first use.

    Args:
        group: The entry point group of the plug-ins.
        built_in: The built-in objects.
    """

    def __init__(self, group: Group, built_in: Mapping[str, T]) -> None:
        self._group: Group = group
        self._built_in = built_in

    def __getitem__(self, name: str) -> T:
        if name in self._built_in:
            return self._built_in[name]
        if name not in available(self._group):
            raise KeyError(name)
        loaded: T = load(self._group, name)
        return loaded

    def __contains__(self, name: object) -> bool:
        return name in self._built_in or name in available(self._group)

    def __iter__(self) -> Iterator[str]:
        yield from self._built_in
        for name in available(self._group):
            if name not in self._built_in:
                yield name

    def __len__(self) -> int:
        return len(list(iter(self)))
