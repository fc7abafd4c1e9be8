"""Optuna's CMA-ES sampler with safe reading of its state, which Optuna stores in the study as a pickle."""

from __future__ import annotations

import io
import pickle
from typing import Any

import optuna

from recctl.errors import ArtifactError, ConfigError

# The classes and functions that such a state consists of. All they can do is hold numbers.
_ARRAYS = {
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy._core.numeric", "_frombuffer"),
}
_GENERATORS = {
    ("numpy.random._pickle", "__randomstate_ctor"),
    ("numpy.random._pickle", "__bit_generator_ctor"),
    ("numpy.random._mt19937", "MT19937"),
}
_STATES = {("cmaes._cma", "CMA"), ("cmaes._sepcma", "SepCMA"), ("cmaes._cmawm", "CMAwM")}
_ALLOWED = _ARRAYS | _GENERATORS | _STATES

# Optuna has no public hook for reading the state. Without these members the override below would not be called, and
# Optuna would unpickle whatever the study holds; then the sampler is refused.
_REQUIRED_MEMBERS = ("_restore_optimizer", "_attr_key_optimizer", "_concat_optimizer_attrs")


class CmaEsSampler(optuna.samplers.CmaEsSampler):
    """Optuna's CMA-ES; a study that somebody else can write to cannot make it execute code.

    Raises:
        ConfigError: The installed Optuna reads the state in another way.
    """

    def __init__(self, **options: Any) -> None:
        missing = [name for name in _REQUIRED_MEMBERS if not hasattr(optuna.samplers.CmaEsSampler, name)]
        if missing:
            raise ConfigError(
                f"tuning.sampler: cmaes does not work with Optuna {optuna.__version__} (no {', '.join(missing)}); "
                "choose tpe or gp"
            )
        super().__init__(**options)

    def _restore_optimizer(self, completed_trials: list[optuna.trial.FrozenTrial]) -> Any:
        for trial in reversed(completed_trials):
            parts = {
                key: value for key, value in trial.system_attrs.items() if key.startswith(self._attr_key_optimizer)
            }
            if parts:
                return _StateReader(trial.number, bytes.fromhex(self._concat_optimizer_attrs(parts))).load()
        return None


class _StateReader(pickle.Unpickler):
    """Reads the sampler state that a trial stored.

    Raises:
        ArtifactError: The pickle holds anything but such a state.
    """

    def __init__(self, number: int, data: bytes) -> None:
        super().__init__(io.BytesIO(data))
        self.number = number

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise ArtifactError(
                f"trial {self.number} of the study holds {module}.{name} instead of a CMA-ES state: another program "
                "wrote it; start a new search"
            )
        return super().find_class(module, name)
