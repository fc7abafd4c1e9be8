"""Compile kernels ahead of the commands that call them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from recctl.arguments import many, text, validated
from recctl.errors import ArtifactError, ConfigError
from recctl.kernels import cache, loading
from recctl.kernels.compile import find_kernels
from recctl.models.registry import model_class


@dataclass(frozen=True)
class WarmUp:
    """What `warm_up` did.

    Attributes:
        folder: The folder of the compiled kernels.
        n_kernels: The number of kernels.
        n_compiled: The number of those that were not in the folder yet.
        seconds: The time it took.
    """

    folder: Path
    n_kernels: int
    n_compiled: int
    seconds: float


@validated(models=many(text, "['ease', 'als']"))
def warm_up(models: Iterable[str] = ()) -> WarmUp:
    """Compile all kernels, or those that commands call for these models, unless they are cached.

    Args:
        models: Names of models; none for all kernels.

    Raises:
        ConfigError: A model is unknown, or there is no folder to keep compiled kernels in.
        ArtifactError: Some kernels are not in the folder afterwards, because the disk is full, for example.
    """
    names = list(models)
    for name in names:
        model_class(name)  # an unknown name is an error
    folder = cache.folder_to_write()
    if folder is None:
        raise ConfigError(
            f"{cache.user_folder()}: compiled kernels can't be kept here; set {cache.FOLDER_VARIABLE} to a folder that "
            "you own and no one else can write to"
        )
    kernel_names = loading.kernels_of_all_commands(names) if names else loading.all_kernels()
    start_time = perf_counter()
    n_compiled = loading.load(kernel_names)
    # A name may stand for several kernels, one for each type of ids.
    n_kernels = len(find_kernels(kernel_names))
    n_cached = loading.count_cached(kernel_names)
    if n_cached < n_kernels:
        raise ArtifactError(
            f"{folder}: {n_kernels - n_cached} of {n_kernels} compiled kernels could not be kept; check that the "
            f"disk is not full, or set {cache.FOLDER_VARIABLE} to another folder"
        )
    return WarmUp(folder, n_kernels, n_compiled, round(perf_counter() - start_time, 2))
