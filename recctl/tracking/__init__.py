"""Live logging to other programs, by callbacks: off unless asked for, and never a reason for a training to fail."""

from recctl.tracking.mlflow import MLflowLogger as MLflowLogger
from recctl.tracking.tensorboard import TensorBoardLogger as TensorBoardLogger
from recctl.tracking.tracker import Status as Status
from recctl.tracking.tracker import Tracker as Tracker
