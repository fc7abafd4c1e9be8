"""Metrics: their definitions on arrays, and the keys that configs and results name them by."""
