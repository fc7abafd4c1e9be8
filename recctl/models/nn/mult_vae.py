"""The network of Mult-VAE. Imports torch, so `recctl.models.mult_vae` imports it only to train."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional


class MultVAENetwork(nn.Module):
    """Encoder of a history into a normal distribution of latent vectors, and decoder into logits of all items.

    Hidden layers end in tanh. The decoder's widths are the encoder's in reverse.

    Args:
        n_items: Number of items.
        latent_dim: Length of the latent vectors.
        hidden_layers: Widths of the encoder's hidden layers.
        generator: Source of the initial weights.
    """

    def __init__(self, n_items: int, latent_dim: int, hidden_layers: Sequence[int], generator: torch.Generator) -> None:
        super().__init__()
        widths = list(hidden_layers)
        # The order of the parameters is the order of the weights in model files, and of the draws from the generator.
        # A row per item: the first layer adds the rows of a history, and the last one multiplies by all of them.
        self.item_in = nn.Parameter(_glorot_normal(n_items, widths[0], generator))
        self.bias_in = nn.Parameter(torch.zeros(widths[0], dtype=torch.float32))
        self.encoder = _layers(widths, generator)
        self.encoder_biases = _biases(widths[1:])
        self.mean = nn.Parameter(_glorot_normal(latent_dim, widths[-1], generator))
        self.mean_bias = nn.Parameter(torch.zeros(latent_dim, dtype=torch.float32))
        self.log_variance = nn.Parameter(_glorot_normal(latent_dim, widths[-1], generator))
        self.log_variance_bias = nn.Parameter(torch.zeros(latent_dim, dtype=torch.float32))
        decoder_widths = [latent_dim, *reversed(widths)]
        self.decoder = _layers(decoder_widths, generator)
        self.decoder_biases = _biases(decoder_widths[1:])
        self.item_out = nn.Parameter(_glorot_normal(n_items, widths[0], generator))
        self.bias_out = nn.Parameter(torch.zeros(n_items, dtype=torch.float32))

    def encode(
        self, items: torch.Tensor, starts: torch.Tensor, weights: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Mean and logarithm of the variance of the latent vectors, both `(b, latent_dim)`.

        Args:
            items: Item codes of the histories, one after another, `(n,)`.
            starts: Where each history begins, `(b,)`.
            weights: The entries of the normalized histories, after dropout, `(n,)`.
        """
        summed = functional.embedding_bag(items, self.item_in, starts, mode="sum", per_sample_weights=weights)
        hidden = torch.tanh(summed + self.bias_in)
        for layer, bias in zip(self.encoder, self.encoder_biases, strict=True):
            hidden = torch.tanh(functional.linear(hidden, layer, bias))
        mean = functional.linear(hidden, self.mean, self.mean_bias)
        return mean, functional.linear(hidden, self.log_variance, self.log_variance_bias)

    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Logits of all items, `(b, n_items)`, from latent vectors `(b, latent_dim)`."""
        hidden = latent
        for layer, bias in zip(self.decoder, self.decoder_biases, strict=True):
            hidden = torch.tanh(functional.linear(hidden, layer, bias))
        return functional.linear(hidden, self.item_out, self.bias_out)

    def scoring_tables(self) -> None:
        """What scores of all users need: nothing but the weights."""

    def scores(self, tables: None, items: torch.Tensor, starts: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        """Scores of every item after each history, `(n, n_items)`: the logits at the mean of its latent vector.

        Args:
            tables: The result of `scoring_tables`.
            items: Item codes of the histories, one after another.
            starts: Where each history begins, `(n,)`.
            weights: The entries of the normalized histories.
        """
        mean, _ = self.encode(items, starts, weights)
        return self.decode(mean)


def log_likelihood(logits: torch.Tensor, rows: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
    """The multinomial log-likelihood of histories (eq. 2), summed over the histories.

    Args:
        logits: `(b, n_items)`.
        rows: Row of each interaction, `(n,)`.
        items: Item code of each interaction, `(n,)`.
    """
    n_interactions = torch.bincount(rows, minlength=len(logits))
    positions = rows * logits.shape[1] + items
    return logits.view(-1).index_select(0, positions).sum() - (n_interactions * logits.logsumexp(dim=1)).sum()


def kl_divergence(mean: torch.Tensor, log_variance: torch.Tensor) -> torch.Tensor:
    """The divergence of normal distributions from the standard normal one, summed over the histories."""
    return 0.5 * (log_variance.exp() + mean.square() - 1 - log_variance).sum()


def _layers(widths: Sequence[int], generator: torch.Generator) -> nn.ParameterList:
    shapes = zip(widths[1:], widths[:-1], strict=True)
    return nn.ParameterList([_glorot_normal(n_out, n_in, generator) for n_out, n_in in shapes])


def _biases(widths: Sequence[int]) -> nn.ParameterList:
    return nn.ParameterList([torch.zeros(width, dtype=torch.float32) for width in widths])


def _glorot_normal(n_out: int, n_in: int, generator: torch.Generator) -> torch.Tensor:
    """Weights `(n_out, n_in)` that keep the variance of signals (Glorot & Bengio, 2010)."""
    return torch.empty(n_out, n_in, dtype=torch.float32).normal_(0, math.sqrt(2 / (n_in + n_out)), generator=generator)
