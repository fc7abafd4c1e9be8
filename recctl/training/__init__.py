"""Training in epochs: the loop, early stopping, checkpoints, and the history. Models are described by a Protocol."""

from recctl.training.checkpoints import ModelCheckpoint as ModelCheckpoint
from recctl.training.checkpoints import ResumableTraining as ResumableTraining
from recctl.training.early_stopping import EarlyStopping as EarlyStopping
from recctl.training.early_stopping import StopAfter as StopAfter
from recctl.training.loop import Callback as Callback
from recctl.training.loop import Epoch as Epoch
from recctl.training.loop import EpochModel as EpochModel
from recctl.training.loop import Validate as Validate
from recctl.training.loop import require_convergence as require_convergence
from recctl.training.loop import run_epochs as run_epochs
