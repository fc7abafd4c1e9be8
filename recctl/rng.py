"""Named, independent random streams from one seed.

A part of an experiment that draws random numbers names its stream (`split`, `init`, `negatives`, ...). Streams do not
share state, so that a part that draws more or fewer numbers never changes what another part draws.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from recctl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


def stream(seed: int, *name: str | int) -> np.random.Generator:
    """The generator of the stream `name` of `seed`.

    Args:
        seed: The experiment's seed, at least 0.
        name: What the numbers are for, e.g. `"split"` or `"fold", 3`.

    Returns:
        A PCG64 generator; equal arguments give equal generators on every platform.

    Raises:
        ConfigError: The seed is no whole number of at least 0.
    """
    import numpy as np

    if not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"seed={seed!r}: must be a whole number of at least 0")
    digest = hashlib.sha256("/".join(map(str, name)).encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(seed), *words])))


def key(seed: int, *name: str | int) -> int:
    """A number of 62 bits from the stream `name` of `seed`, for kernels that draw by hashing it."""
    return int(stream(seed, *name).integers(2**62))
