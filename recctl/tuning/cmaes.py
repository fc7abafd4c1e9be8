"""CMA-ES by Optuna, which keeps its state in the study as a pickle: it is read as numbers of that state, or refused."""

from __future__ import annotations

import io
import pickle
from typing import Any

import optuna

from recctl.errors import ArtifactError

# What such a state is made of. None of it does more than hold numbers.
_ARRAYS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}
_GENERATORS = {
    ("numpy.random._pickle", "__randomstate_ctor"),
    ("numpy.random._pickle", "__bit_generator_ctor"),
    ("numpy.random._mt19937", "MT19937"),
}
_STATES = {("cmaes._cma", "CMA"), ("cmaes._sepcma", "SepCMA"), ("cmaes._cmawm", "CMAwM")}


class CmaEsSampler(optuna.samplers.CmaEsSampler):
    """Optuna's, but a study that somebody else wrote to can make it run nothing."""

    def _restore_optimizer(self, completed_trials: list[optuna.trial.FrozenTrial]) -> Any:
        for trial in reversed(completed_trials):
            parts = {
                key: value for key, value in trial.system_attrs.items() if key.startswith(self._attr_key_optimizer)
            }
            if parts:
                return _State(trial.number, bytes.fromhex(self._concat_optimizer_attrs(parts))).load()
        return None


class _State(pickle.Unpickler):
    """Reads the state that a trial left.

    Raises:
        ArtifactError: It holds something else.
    """

    def __init__(self, number: int, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.number = number

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ARRAYS | _GENERATORS | _STATES:
            raise ArtifactError(
                f"the study's trial {self.number} holds {module}.{name} where the state of CMA-ES should be: somebody "
                "else wrote it; begin a new search"
            )
        return super().find_class(module, name)
