"""Shared parts of factor models: ALS half-steps, biased factors trained by SGD, and vector operations."""
