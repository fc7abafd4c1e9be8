"""The base of all models: the Recommender class, hyperparameters, fitted values, and the model file."""

from recctl.models.base.hyperparameters import Between, Choices, fitted, hyperparameter
from recctl.models.base.recommender import Embeddings, Recommender

__all__ = ["Between", "Choices", "Embeddings", "Recommender", "fitted", "hyperparameter"]
