"""A step of Adam (Kingma & Ba, 2015) for some of the weights: each by itself, however they are cut."""

from __future__ import annotations

import numpy as np

from recctl.kernels.compile import FLOAT, OUT_F32, VOID, inlined, kernel


@inlined
def part(gradient, rate, beta_1, beta_2, n_steps, epsilon, mean, square, weights):
    """Add a gradient to its moments, go against the first of them, and clear the gradient.

    Args:
        gradient: `(n,)`; 0 afterwards.
        rate: The learning rate.
        beta_1: How much of `mean` stays.
        beta_2: How much of `square` stays.
        n_steps: How many steps there were, with this one.
        epsilon: Is added to the root of `square`.
        mean: The first moment.
        square: The second moment.
        weights: What to change.
    """
    size = np.float32(rate / (1 - beta_1**n_steps))
    scale = np.float32(1 / np.sqrt(1 - beta_2**n_steps))
    new_1, new_2, old_2, least = np.float32(1 - beta_1), np.float32(1 - beta_2), np.float32(beta_2), np.float32(epsilon)
    for k in range(len(gradient)):
        g = gradient[k]
        gradient[k] = 0
        first = mean[k] + (g - mean[k]) * new_1
        second = square[k] * old_2 + g * g * new_2
        mean[k], square[k] = first, second
        weights[k] -= size * first / (np.sqrt(second) * scale + least)


@kernel(VOID, OUT_F32, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, *(OUT_F32, OUT_F32, OUT_F32))
def step(gradient, rate, beta_1, beta_2, n_steps, epsilon, mean, square, weights):
    """As `part`."""
    part(gradient, rate, beta_1, beta_2, n_steps, epsilon, mean, square, weights)
