"""Named, independent random streams derived from one seed.

Each part of an experiment that needs random numbers has its own stream (`split`, `init`, `negatives`, ...). Streams
share no state: if one part draws more or fewer numbers, the numbers of the others do not change.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from recctl.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np


def stream(seed: int, *name: str | int) -> np.random.Generator:
    """The random generator of the stream `name`.

    Args:
        seed: Seed of the experiment, at least 0.
        name: Purpose of the numbers, e.g. `"split"`, or `"fold", 3`.

    Returns:
        A PCG64 generator; equal arguments give equal generators on every platform.

    Raises:
        ConfigError: The seed is not an integer of at least 0.
    """
    import numpy as np

    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ConfigError(f"seed={seed!r}: must be a whole number of at least 0")
    # 128 bits of the name's hash are appended to the seed as 32-bit words.
    digest = hashlib.sha256("/".join(map(str, name)).encode()).digest()
    words = [int.from_bytes(digest[i : i + 4], "little") for i in range(0, 16, 4)]
    seed_sequence = np.random.SeedSequence([int(seed), *words])
    return np.random.Generator(np.random.PCG64(seed_sequence))


def key(seed: int, *name: str | int) -> int:
    """A 62-bit integer from the stream `name`, the key of kernels that hash counters into random numbers."""
    return int(stream(seed, *name).integers(2**62))
