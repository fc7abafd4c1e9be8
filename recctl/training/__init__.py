"""Training in epochs: the one loop, and when to stop. It sees a model as a Protocol and knows none."""

from recctl.training.early_stopping import EarlyStopping as EarlyStopping
from recctl.training.loop import Callback as Callback
from recctl.training.loop import Epoch as Epoch
from recctl.training.loop import EpochModel as EpochModel
from recctl.training.loop import Validate as Validate
from recctl.training.loop import require_convergence as require_convergence
from recctl.training.loop import run_epochs as run_epochs
