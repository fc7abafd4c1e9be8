"""Import path of plug-ins for what `recctl.models.base` declares; kept for good."""

from recctl.models.base.hyperparameters import Between, Choices, Fitted, Hyperparameter, fitted, hyperparameter

__all__ = ["Between", "Choices", "Fitted", "Hyperparameter", "fitted", "hyperparameter"]
