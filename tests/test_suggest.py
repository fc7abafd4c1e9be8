import pytest

from recctl.suggest import did_you_mean


@pytest.mark.parametrize(
    ("given", "known", "answer"),
    [
        ("l2_rge", ["l1_reg", "l2_reg", "tol"], "; did you mean l2_reg?"),
        ("L2_REG", ["l2_reg"], "; did you mean l2_reg?"),
        ("ease", ["EASE", "ALS"], "; did you mean EASE?"),
        ("item_knn", ["item-knn", "ease"], "; did you mean item-knn?"),
        ("zzz", ["a", "b"], "; one of a, b"),
        ("zzz", [], ""),
        ("zzz", iter(["a", "a", "b"]), "; one of a, b"),
        ("zzz", [f"{n}" for n in range(21)], f"; one of {', '.join(map(str, range(20)))}, ..."),
        ("", ["a"], "; one of a"),
    ],
)
def test_similar_name_is_suggested_or_names_are_listed(given, known, answer):
    assert did_you_mean(given, known) == answer


def test_synonym_is_preferred_to_similar_name():
    synonyms = {"lr": "learning_rate"}
    assert did_you_mean("lr", ["learning_rate", "l2r"], synonyms) == "; did you mean learning_rate?"
    assert did_you_mean("lr", ["l2r"], synonyms) == "; did you mean l2r?"
