"""Live tracking in MLflow and TensorBoard by callbacks. Off by default; a failing tracker never stops a training."""

from recctl.tracking.mlflow import MLflowLogger as MLflowLogger
from recctl.tracking.tensorboard import TensorBoardLogger as TensorBoardLogger
from recctl.tracking.tracker import Status as Status
from recctl.tracking.tracker import Tracker as Tracker
