import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from recctl.data.matrix import InteractionMatrix
from recctl.errors import ArtifactError, ConfigError, TrainingError, UnsupportedError
from recctl.export import _scoring_graph, export_model, verify_export
from recctl.models.base import Recommender
from recctl.models.registry import make_model
from tests.conftest import skip_without
from tests.export.toys import VARIANTS, fitted, rows, users_of
from tests.models.suite import as_text

skip_without("onnx", "recctl[onnx]")
skip_without("onnxruntime", "recctl[onnx]")

from recctl.export import _onnx_file  # noqa: E402 - imports onnx


class Exported:
    """A model's graph, written and loaded again."""

    def __init__(self, model: Recommender, folder: Path, **options: Any) -> None:
        self.manifest = export_model(model, "onnx", folder, **options).manifest
        self.session = _onnx_file.session(folder / "model.onnx")
        (self.input,) = self.session.get_inputs()

    def __call__(self, asked: Any) -> Any:
        given = self.session.run(None, {self.input.name: asked})
        return given[0] if len(given) == 1 else given


def dense(model: Recommender) -> np.ndarray:
    seen = model.seen
    weights = np.zeros((seen.n_rows, seen.n_columns), np.float32)
    weights[seen.rows, seen.columns] = 1 if seen.is_binary else seen.values
    return weights


def padded(lists: list[list[int]], width: int) -> np.ndarray:
    return np.array([[-1] * (width - len(items)) + items for items in lists], np.int64)


def histories(model: Recommender) -> list[list[int]]:
    matrix = getattr(model, "histories", model.seen)
    return [matrix.columns[a:b].tolist() for a, b in zip(matrix.starts[:-1], matrix.starts[1:], strict=True)]


def asked(model: Recommender, given: str) -> Any:
    """All users, in the form that a graph is asked in."""
    if given == "user":
        return users_of(model).astype(np.int64)
    return dense(model) if given == "history" else padded(histories(model), 25)


def lower_codes_first(scores: np.ndarray, k: int, seen: InteractionMatrix | None) -> tuple[np.ndarray, np.ndarray]:
    """The k best items by the rule of the graphs, which can't hash ids: of equal scores the lower code ranks first."""
    scores = scores.copy()
    if seen is not None:
        scores[seen.rows, seen.columns] = -np.inf
    items = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.take_along_axis(scores, items, 1)
    return np.where(best > -np.inf, items, -1), best


@pytest.mark.parametrize("variant", VARIANTS)
def test_all_graphs_of_all_models_score_and_rank_as_the_model(variant: str, tmp_path: Path) -> None:
    model = fitted(variant)
    for given in _scoring_graph.supported_inputs(model):
        users = users_of(model)
        scores = model.score_users(users) if given == "user" or model.reads_order else model.score_histories(model.seen)
        found = Exported(model, tmp_path / given, input=given)(asked(model, given))
        assert (found.dtype, found.shape) == (np.float32, scores.shape)
        np.testing.assert_allclose(found, scores, rtol=1e-5, atol=1e-5 * np.abs(scores).max())
        for seen in (model.seen, None):
            best = lower_codes_first(scores, 4, seen)
            rank = Exported(model, tmp_path / f"{given}-{seen is None}", input=given, k=4, include_seen=seen is None)
            items, of_items = rank(asked(model, given))
            np.testing.assert_allclose(of_items, best[1], rtol=1e-5, atol=1e-5 * np.abs(scores).max())
            assert (items == best[0]).mean() > 0.95


def test_default_input_is_the_models_natural_input(tmp_path: Path) -> None:
    inputs = {name: _scoring_graph.supported_inputs(fitted(name))[0] for name in VARIANTS}
    assert {name for name, given in inputs.items() if given == "history"} == {
        *("ease", "slim", "sansa", "item-knn", "rp3beta", "popularity", "random")
    }
    assert inputs["sasrec"] == "sequence"
    exported = Exported(fitted("ease"), tmp_path / "ease")
    assert exported.manifest["facts"]["inputs"] == {"history": "float32 (batch, 20)"}
    assert exported.manifest["facts"]["outputs"] == {"scores": "float32 (batch, 20)"}
    assert exported.manifest["facts"]["largest_difference"] < 1e-5


def test_any_batch_size_and_fewer_items_than_k(tmp_path: Path) -> None:
    model = fitted("ease")
    rank = Exported(model, tmp_path / "x", k=1000)
    for n in (0, 1, 7):
        items, scores = rank(dense(model)[:n])
        assert items.shape == scores.shape == (n, 20)
    items, scores = rank(np.ones((1, 20), np.float32))
    assert (items == -1).all()
    assert (scores == -np.inf).all()


@pytest.mark.parametrize("variant", ["sasrec", "sasrec cosine"])
def test_sequences_of_any_length_and_padding(variant: str, tmp_path: Path) -> None:
    model, score = fitted(variant), Exported(fitted(variant), tmp_path / "x")
    lists = [[], [3], [5, 5, 2], list(range(10)), list(range(20)) * 3]
    ids = model.item_vocabulary.ids
    together = score(padded(lists, 70))
    for items, scores in zip(lists, together, strict=True):
        for width in {len(items), len(items) + 3}:
            np.testing.assert_allclose(score(padded([items], width))[0], scores, rtol=1e-5, atol=1e-6)
        if items:
            best = model.recommend_for_history([ids[items]], k=20, exclude_seen=False)
            by_item = best.set_index("item_id").score[ids].to_numpy()
            np.testing.assert_allclose(scores, by_item, rtol=1e-4, atol=1e-5)
    assert not together[0].any()


@pytest.mark.parametrize("variant", ["als", "ease", "sasrec"])
def test_batch_of_empty_histories_needs_no_padding(variant: str, tmp_path: Path) -> None:
    score = Exported(fitted(variant), tmp_path / "x", input="sequence")
    without_padding = score(np.empty((2, 0), np.int64))
    np.testing.assert_array_equal(without_padding, score(np.full((2, 1), -1)))


def test_ratings_in_a_history_are_used(tmp_path: Path) -> None:
    from recctl import InteractionDataset

    for name in ("ease", "item-knn"):
        model = make_model(name).fit(InteractionDataset(rows(), implicit=False))
        for given in ("history", "user"):
            score = Exported(model, tmp_path / f"{name}-{given}", input=given)
            np.testing.assert_allclose(score(asked(model, given)), model.score_users(users_of(model)), rtol=1e-4)


@pytest.mark.parametrize("hyperparameters", [{}, {"reg_by": "pairs", "reg_exponent": 0.5, "n_factors": 1}])
def test_als_graph_solves_for_unknown_users_as_the_model(hyperparameters: dict[str, Any], tmp_path: Path) -> None:
    model = make_model("als", **{"n_factors": 20, **hyperparameters}).fit(rows())
    score = Exported(model, tmp_path / "x", input="sequence")
    ids = model.item_vocabulary.ids
    best = model.recommend_for_history([ids[[1, 7, 3]]], k=20, exclude_seen=False)
    by_item = best.set_index("item_id").score[ids].to_numpy()
    np.testing.assert_allclose(score(padded([[1, 7, 3]], 5))[0], by_item, rtol=1e-4, atol=1e-5)


def test_sparse_weights_are_gathered_and_dense_ones_are_a_matrix(tmp_path: Path) -> None:
    for n_neighbors, shape in ((3, (20, 1, 3)), (10, (20, 20))):
        model = make_model("item-knn", n_neighbors=n_neighbors).fit(rows())
        graph = _scoring_graph.score_graph(model, "history")
        assert shape in {array.shape for array in graph.constants.values()}
        score = Exported(model, tmp_path / str(n_neighbors))
        np.testing.assert_allclose(score(dense(model)), model.score_histories(model.seen), rtol=1e-5, atol=1e-6)


def test_matrix_larger_than_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("slim")
    monkeypatch.setenv("RECCTL_MEMORY", "100")
    with pytest.raises(TrainingError, match=r"a graph of weights of 20 x 20, .*n_neighbors"):
        export_model(model, "onnx", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_codes_are_rows_of_the_id_files(tmp_path: Path) -> None:
    model = make_model("als", n_factors=4).fit(as_text(rows()))
    rank = Exported(model, tmp_path / "x", k=3)
    users = pq.read_table(tmp_path / "x" / "users.parquet")["user_id"].to_pylist()
    items = pq.read_table(tmp_path / "x" / "items.parquet")["item_id"].to_pylist()
    assert json.loads((tmp_path / "x" / "users.json").read_text()) == users
    assert json.loads((tmp_path / "x" / "items.json").read_text()) == items
    codes, _ = rank(np.array([users.index("u000107")], np.int64))
    assert [items[code] for code in codes[0]] == model.recommend(["u000107"], k=3).item_id.tolist()


@pytest.mark.parametrize("options", [{}, {"k": 3}])
@pytest.mark.parametrize(
    ("variant", "given", "valid", "invalid", "node"),
    [
        ("als", "user", [0, 29], [[-1, 3], [3, -30], [30], [2**40]], "user_code_must_be_0_to_29"),
        ("ease", "user", [0, 29], [[-1], [3, 30]], "user_code_must_be_0_to_29"),
        ("ease", "sequence", [[-1, 0, 19]], [[[-2, 0, 19]], [[0, 20, 1]]], "item_code_must_be_minus_1_to_19"),
        ("sasrec", "sequence", [[-1, 0, 19]], [[[-2, 0, 19]], [[0, 20, 1]]], "item_code_must_be_minus_1_to_19"),
        # The model itself reads the last 10 codes only.
        ("sasrec", "sequence", [[3] * 12], [[[20] + [3] * 11]], "item_code_must_be_minus_1_to_19"),
    ],
)
def test_unknown_codes_are_refused_and_never_wrap(
    variant: str, given: str, valid: list[Any], invalid: list[Any], node: str, options: dict[str, Any], tmp_path: Path
) -> None:
    score = Exported(fitted(variant), tmp_path / "x", input=given, **options)
    score(np.array(valid, np.int64))
    for codes in invalid:
        with pytest.raises(Exception, match=rf"Name:'{node}'.*out of data bounds"):
            score(np.array(codes, np.int64))


def test_unknown_codes_are_refused_by_the_reference_implementation(tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    path = export_model(fitted("als"), "onnx", tmp_path / "x").path
    evaluator = ReferenceEvaluator(str(path / "model.onnx"))
    (scores,) = evaluator.run(None, {"user": np.array([3], np.int64)})
    np.testing.assert_allclose(scores[0], fitted("als").score_users(np.array([3], np.int32))[0], rtol=1e-5, atol=1e-6)
    for code in (-1, 30):
        with pytest.raises(IndexError):
            evaluator.run(None, {"user": np.array([code], np.int64)})


def test_inputs_and_outputs_have_doc_strings(tmp_path: Path) -> None:
    import onnx

    texts: dict[str, str] = {}
    for variant, options in (("als", {}), ("ease", {"k": 3}), ("sasrec", {}), ("als ratings", {"input": "history"})):
        exported = Exported(fitted(variant), tmp_path / variant, **options)
        graph = onnx.load(tmp_path / variant / "model.onnx").graph
        described = {each.name: each.doc_string for each in [*graph.input, *graph.output]}
        assert described == exported.manifest["facts"]["descriptions"]
        texts |= {f"{variant} {name}": text for name, text in described.items()}
    assert "positions in users.json, 0 to 29" in texts["als user"]
    assert "position c of items.json" in texts["als scores"]
    assert "1 for each item" in texts["ease history"]
    assert "the rating for each item" in texts["als ratings history"]
    assert "Items that the user has interacted with are left out" in texts["ease items"]
    assert "minus infinity" in texts["ease scores"]
    assert "oldest first, padded with -1 on the left" in texts["sasrec sequence"]
    assert "0 to 19" in texts["sasrec sequence"]


def test_file_alone_says_which_model_it_is(tmp_path: Path) -> None:
    exported = Exported(fitted("als"), tmp_path / "x", k=3)
    meta = exported.session.get_modelmeta()
    assert meta.description == "Recommender model als: from user to items and scores."
    assert meta.custom_metadata_map == {"recctl.model": "als", "recctl.input": "user"}


def test_equal_models_give_equal_files(tmp_path: Path) -> None:
    first, second = (export_model(fitted("sasrec"), "onnx", tmp_path / name).path for name in ("a", "b"))
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


# ---- refusals


@pytest.mark.parametrize("options", [{}, {"k": 20}])
def test_graph_with_other_scores_is_not_written(
    options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = _onnx_file.write

    def tampered(graph: Any, *rest: Any) -> None:
        name, weights = max(graph.constants.items(), key=lambda each: each[1].size)
        graph.constants[name] = weights + np.float32(1e-3) * (np.arange(weights.size) == 22).reshape(weights.shape)
        write(graph, *rest)

    monkeypatch.setattr(_onnx_file, "write", tampered)
    with pytest.raises(
        ArtifactError, match=r"onnx: scores of the graph differ from those of ease by .* of the largest"
    ):
        export_model(fitted("ease"), "onnx", tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_model_without_a_graph_is_refused_with_a_hint(tmp_path: Path) -> None:
    class Plain(type(fitted("popularity"))):  # type: ignore[misc]
        _graph_of_histories = Recommender._graph_of_histories

    with pytest.raises(UnsupportedError, match="Plain has neither _graph_of_histories nor _graph_of_users"):
        export_model(Plain().fit(rows()), "onnx", tmp_path / "x")


def test_unsupported_input_is_refused(tmp_path: Path) -> None:
    for variant, given, there in (
        ("svd", "history", "user"),
        ("sasrec", "history", "sequence or user"),
        ("als ratings", "sequence", "user or history"),
    ):
        with pytest.raises(UnsupportedError, match=f"no graph for input={given}: choose input={there}"):
            export_model(fitted(variant), "onnx", tmp_path / "x", input=given)
    with pytest.raises(ConfigError, match="k: 0: "):
        export_model(fitted("ease"), "onnx", tmp_path / "x", k=0)


# ---- files


def test_large_weights_go_to_a_separate_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_onnx_file, "MAX_EMBEDDED_BYTES", 100)
    monkeypatch.setattr(_onnx_file, "_PAGE", 512)
    for variant in ("ease", "sasrec", "ncf"):
        model, folder = fitted(variant), tmp_path / variant
        score = Exported(model, folder)
        assert {"model.onnx", "model.onnx.data"} < set(score.manifest["files"])
        given = _scoring_graph.supported_inputs(model)[0]
        np.testing.assert_allclose(score(asked(model, given)), model.score_users(users_of(model)), rtol=1e-4, atol=1e-6)
        verify_export(folder)
        (folder / "model.onnx.data").write_bytes(b"")
        with pytest.raises(ArtifactError, match=r"model\.onnx\.data: changed or damaged"):
            verify_export(folder)


def test_damaged_graph_is_refused(tmp_path: Path) -> None:
    from recctl.export.onnx import OnnxFormat

    path = export_model(fitted("ease"), "onnx", tmp_path / "x").path
    manifest = verify_export(path)
    (path / "model.onnx").write_bytes((path / "model.onnx").read_bytes()[:-100])
    with pytest.raises(ArtifactError, match="changed or damaged"):
        verify_export(path)
    with pytest.raises(ArtifactError, match="onnxruntime cannot run it"):
        OnnxFormat.verify(path, manifest)
