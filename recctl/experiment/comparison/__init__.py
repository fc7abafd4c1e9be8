"""Comparison of models on one split: the compared models, the run, its result, and the refit of the best."""
