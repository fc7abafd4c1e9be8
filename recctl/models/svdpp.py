"""SVD++: ratings, and what a person rated at all."""

from __future__ import annotations

from recctl.data.matrix import Float32Array
from recctl.models.base.hyperparameters import fitted
from recctl.models.factors.biased_factors import BiasedFactors


class SVDPlusPlusRecommender(BiasedFactors):
    """SVD++ (Koren, 2008, "Factorization Meets the Neighborhood: a Multifaceted Collaborative Filtering Model").

    Predicts (eq. 15 of the paper) `r = mean + b_u + b_i + q_i . (p_u + |N(u)|^-1/2 * sum of y_j over N(u))`, where N(u)
    are the items the user rated in the data the model was fitted on. Minimises over all ratings the sum of

        (r_ui - r)^2 + reg (b_u^2 + b_i^2 + |p_u|^2 + |q_i|^2 + sum of |y_j|^2 over N(u))

    by stochastic gradient descent, `n_epochs` times through the ratings. Users come in an order drawn anew each epoch;
    a user's ratings one after another, in order of the items' ids. A rating moves its biases and factors and every
    `y_j` of the user, all by the values from before it. As all `y_j` of a user get the same addend and shrink alike,
    their sum is carried along exactly, and they themselves are brought up to date when the user is through (the algebra
    is in `recctl.kernels.sgd.epoch`): a rating costs O(n_factors), not O(n_factors |N(u)|), and the result is that of
    the paper's sequential steps in this order, rounding aside.

    An epoch costs O(ratings * n_factors) on one thread, the model `4 (n_users + 2 n_items) (n_factors + 1)` bytes. All
    is float32, and follows from `seed` on any number of threads. `chosen_epoch` is the epoch the weights are of: the
    last one, or with `EarlyStopping` the best on validation.

    `predict` cuts ratings to the scale seen in training; rankings go by the score before that. People the model was not
    fitted on are known by their history: its `y_j`, and where it has ratings, a bias and a `p_u` made by the same
    steps with the items held, `chosen_epoch` times through. Without ratings their bias is 0, which changes no ranking.

    Not as in the paper: N(u) has no items without a rating; one `lr` and one `reg` serve biases and factors;
    `lr_decay` is 1 unless given (the paper's is 0.9); the neighbourhood part (eq. 16) is left out.
    """

    name = "svdpp"

    implicit_factors: Float32Array = fitted("(n_items, n_factors)")

    def _learnt(self) -> dict[str, bool]:
        return {**super()._learnt(), "implicit_factors": False}

    def _implicit_factors(self) -> Float32Array:
        return self.implicit_factors
