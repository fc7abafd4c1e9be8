"""Evaluation: measure the rankings and predicted ratings of a fitted model on held-out interactions."""

from recctl.evaluation.evaluator import Evaluation, Evaluator
from recctl.evaluation.given_lists import GivenLists
from recctl.evaluation.segments import Segment
from recctl.metrics.definitions import METRICS

__all__ = ["METRICS", "Evaluation", "Evaluator", "GivenLists", "Segment"]
