"""Interactions: where they come from, how they are prepared, and how they are split."""
