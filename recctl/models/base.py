"""What every model is: hyperparameters, arrays and id maps; fit, recommend, predict, save, load.

A model file declares its hyperparameters and fitted arrays and fills in two methods, `_fit` and `_score`. Everything
a user calls is here, once, for all models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, dataclass_transform

import pandas as pd

from recctl.data.matrix import InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ConfigError
from recctl.models import hyperparameters as declarations
from recctl.models.hyperparameters import Fitted, Hyperparameter, fitted, hyperparameter

if TYPE_CHECKING:
    pass

Histories = Sequence[Iterable[Any]] | Mapping[Any, Iterable[Any]] | pd.DataFrame
OnUnknown = Literal["error", "popular", "skip"]


@dataclass_transform(kw_only_default=True, field_specifiers=(hyperparameter, fitted))
class Recommender:
    """A model. Subclasses are in `recctl/models/`, one a file.

    Attributes:
        name: The model's name in configs and on the command line.
        user_vocabulary: Ids of the users it was fitted on; their order is that of every per-user array.
        item_vocabulary: Ids of the items it can recommend.
        seen: What it was fitted on, `(n_users, n_items)`: a known user's history, and what `exclude_seen` leaves out.
    """

    name: ClassVar[str] = ""
    parameters: ClassVar[dict[str, Hyperparameter]] = {}
    arrays: ClassVar[dict[str, Fitted]] = {}

    user_vocabulary: ClassVar[Vocabulary]
    item_vocabulary: ClassVar[Vocabulary]
    seen: ClassVar[InteractionMatrix]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.parameters, cls.arrays = declarations.collect(cls)

    def __init__(self, **values: Any) -> None:
        checked, problems = declarations.validate(type(self).parameters, values)
        if problems:
            raise ConfigError(*(f"{type(self).__name__}: {name}: {message}" for name, message in problems))
        for name, value in checked.items():
            setattr(self, name, value)
        self._forget()
