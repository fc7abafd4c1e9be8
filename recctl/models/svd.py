"""SVD: ratings as biases and a product of factors."""

from __future__ import annotations

from recctl.models.base.hyperparameters import hyperparameter
from recctl.models.factors.biased_factors import BiasedFactors


class SVDRecommender(BiasedFactors):
    """Biased matrix factorization, known as SVD since the Netflix Prize, although it computes no singular values.

    Koren, Bell & Volinsky, 2009, "Matrix Factorization Techniques for Recommender Systems", IEEE Computer.

    Objective: predict `r = mean + b_u + b_i + q_i . p_u` (eq. 4 of the paper), and minimize the sum over all ratings of

        (r_ui - r)^2 + reg (b_u^2 + b_i^2 + |p_u|^2 + |q_i|^2)

    by stochastic gradient descent over `n_epochs` epochs. Users are shuffled in each epoch; the ratings of a user are
    visited in the order of the item ids.

    Ratings of any scale: ratings are divided by `rating_scale`, their range in training over 4, for the steps of the
    factors, so that `lr`, `reg` and `init_std` mean the same on every scale. On ratings from 1 to 5 the scale is 1.
    Biases, factors and predictions are in the units of the ratings. `partial_fit` does not change the scale.

    Cost: O(ratings * n_factors) per epoch, on one thread; `4 (n_users + n_items) (n_factors + 1)` bytes for the model,
    in float32. The result depends on `seed` only, not on the number of threads. `best_epoch` is the epoch of the
    weights: the last one, or with `EarlyStopping` the best on validation.

    `predict` clips ratings to the range seen in training; rankings use the score before clipping. For users that are
    not in the training data, a bias and factors `p_u` are learned from their ratings by the same steps with fixed
    items, in `best_epoch` epochs. A history without ratings carries no information for this model: such users get
    `mean + b_i`, the same for all. If that is common, SVD++ is the better choice.

    Deviations from the paper: none of its extensions (time, confidence, attributes).

    Examples:
        ```python
        from recctl import SVDRecommender

        model = SVDRecommender(n_epochs=10).fit(train)
        model.recommend([1, 2], k=5)
        ```
    """

    name = "svd"

    init_std: float = hyperparameter(0.1, gt=0, help="Standard deviation of the initial factors.")
