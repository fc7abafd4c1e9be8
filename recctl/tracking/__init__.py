"""Live tracking in MLflow and TensorBoard by callbacks. Off by default; a failing tracker never stops a training."""

from recctl.tracking.mlflow import MLflowLogger as MLflowLogger
from recctl.tracking.record import Dataset as Dataset
from recctl.tracking.record import PartStatus as PartStatus
from recctl.tracking.record import Record as Record
from recctl.tracking.record import Status as Status
from recctl.tracking.tensorboard import TensorBoardLogger as TensorBoardLogger
from recctl.tracking.tracker import Tracker as Tracker
from recctl.tracking.tracker import epoch_values as epoch_values
