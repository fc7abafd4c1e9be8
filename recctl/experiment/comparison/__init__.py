"""Comparing models on one split: what is compared, the run, its result, and the refit of the winner."""
