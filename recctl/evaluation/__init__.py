"""Evaluation: what a fitted model's rankings and predicted ratings are worth on interactions it has not seen."""

from recctl.evaluation.evaluator import Evaluation, Evaluator
from recctl.metrics.definitions import METRICS

__all__ = ["METRICS", "Evaluation", "Evaluator"]
