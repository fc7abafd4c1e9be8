import numpy as np
import pytest

from recctl.errors import UnsupportedError
from tests.export.toys import VARIANTS, fitted, users_of

WITH = [
    "als",
    "als ratings",
    "bpr",
    "svd",
    "svdpp",
    "lightgcn",
    "lightgcn bpr",
    "mult-vae",
    "ncf gmf",
    "sasrec",
    "sasrec cosine",
]


@pytest.mark.parametrize("variant", WITH)
def test_inner_products_of_embeddings_are_the_scores(variant: str) -> None:
    model = fitted(variant)
    users, items = model.embeddings()
    assert users.dtype == items.dtype == np.float32
    assert users.flags.c_contiguous
    assert items.flags.c_contiguous
    np.testing.assert_allclose(users @ items.T, model.score_users(users_of(model)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - set(WITH)))
def test_model_without_embeddings_raises(variant: str) -> None:
    with pytest.raises(UnsupportedError, match="has no embeddings"):
        fitted(variant).embeddings()
