"""SVD: ratings as biases and the product of factors."""

from __future__ import annotations

from recctl.models.base.hyperparameters import hyperparameter
from recctl.models.factors.biased_factors import BiasedFactors


class SVDRecommender(BiasedFactors):
    """Biased matrix factorisation, known as SVD since the Netflix prize, though no singular value is computed.

    Of Koren, Bell & Volinsky, 2009, "Matrix Factorization Techniques for Recommender Systems". Predicts (eq. 4 there)
    `r = mean + b_u + b_i + q_i . p_u` and minimises over all ratings the sum of

        (r_ui - r)^2 + reg (b_u^2 + b_i^2 + |p_u|^2 + |q_i|^2)

    by stochastic gradient descent, `n_epochs` times through the ratings. Users come in an order drawn anew each epoch;
    a user's ratings one after another, in order of the items' ids.

    An epoch costs O(ratings * n_factors) on one thread, the model `4 (n_users + n_items) (n_factors + 1)` bytes. All is
    float32, and follows from `seed` on any number of threads. `chosen_epoch` is the epoch the weights are of: the last
    one, or with `EarlyStopping` the best on validation.

    `predict` cuts ratings to the scale seen in training; rankings go by the score before that. People the model was not
    fitted on get a bias and a `p_u` made by the same steps with the items held, `chosen_epoch` times through their
    ratings. A history without ratings tells this model nothing, as it knows only how much, not that, something was
    liked: such people are answered by `mean + b_i`, the same for all. Where that is common, SVD++ serves better.

    Not as in the paper: none of its extensions (time, confidence, attributes).
    """

    name = "svd"

    init_std: float = hyperparameter(0.1, gt=0, help="Standard deviation of the factors before the first epoch.")
