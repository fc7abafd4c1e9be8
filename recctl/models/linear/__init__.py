"""Shared parts of linear item-to-item models: the Gram matrix, complete or in limited memory."""
