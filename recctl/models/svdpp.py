"""SVD++: ratings, and the implicit feedback of which items a user rated."""

from __future__ import annotations

from recctl.data.matrix import Float32Array
from recctl.models.base.hyperparameters import fitted
from recctl.models.factors.biased_factors import BiasedFactors


class SVDPlusPlusRecommender(BiasedFactors):
    """SVD++ (Koren, 2008, "Factorization Meets the Neighborhood: a Multifaceted Collaborative Filtering Model", KDD).

    Objective: predict `r = mean + b_u + b_i + q_i . (p_u + |N(u)|^-1/2 * sum of y_j over N(u))` (eq. 15 of the paper),
    where N(u) are the items that the user rated in the training data, and minimize the sum over all ratings of

        (r_ui - r)^2 + reg (b_u^2 + b_i^2 + |p_u|^2 + |q_i|^2 + sum of |y_j|^2 over N(u))

    by stochastic gradient descent over `n_epochs` epochs. Users are shuffled in each epoch; the ratings of a user are
    visited in the order of the item ids. A step updates the biases and factors of its rating, and every `y_j` of the
    user, all from the values before the step. All `y_j` of a user get the same increment and shrink by the same factor.
    The kernel therefore updates their sum with each rating, and each `y_j` once per user (the algebra is in
    `recctl.kernels.sgd.epoch`): a rating costs O(n_factors), not O(n_factors |N(u)|), with the result of the paper's
    sequential steps, up to rounding.

    Ratings of any scale: ratings are divided by `rating_scale`, their range in training over 4, for the steps of the
    factors, so that `lr`, `reg` and `init_std` mean the same on every scale. On ratings from 1 to 5 the scale is 1.
    Biases, factors and predictions are in the units of the ratings. `partial_fit` does not change the scale.

    Cost: O(ratings * n_factors) per epoch, on one thread; `4 (n_users + 2 n_items) (n_factors + 1)` bytes for the
    model, in float32. The result depends on `seed` only, not on the number of threads. `best_epoch` is the epoch of
    the weights: the last one, or with `EarlyStopping` the best on validation.

    `predict` clips ratings to the range seen in training; rankings use the score before clipping. Users that are not in
    the training data are represented by the `y_j` of their history. If it has ratings, a bias and factors `p_u` are
    learned by the same steps with fixed items, in `best_epoch` epochs. Without ratings the bias is 0, which does not
    affect the ranking.

    Deviations from the paper: N(u) contains no items without a rating; one `lr` and one `reg` apply to biases and
    factors; `lr_decay` is 1 by default (0.9 in the paper); the neighborhood model (eq. 16) is left out.

    Examples:
        ```python
        from recctl import SVDPlusPlusRecommender

        model = SVDPlusPlusRecommender(n_epochs=10).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "svdpp"

    implicit_factors: Float32Array = fitted("(n_items, n_factors)")

    def _trained_arrays(self) -> dict[str, bool]:
        return super()._trained_arrays() | {"implicit_factors": False}

    def _implicit_factors(self) -> Float32Array:
        return self.implicit_factors
