import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recctl.data.matrix import InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError, AssertionFailedError, ConfigError, UnsupportedError
from recctl.export import export_model, verify_export
from recctl.export.ann import AnnFormat
from recctl.export.embeddings import read_vectors
from recctl.models.als import ALSRecommender
from tests.conftest import skip_without
from tests.export.test_embeddings import WITH
from tests.export.toys import VARIANTS, fitted, rows

skip_without("usearch", "recctl[ann]")

from usearch.index import Index  # noqa: E402


@pytest.fixture(scope="module")
def large() -> ALSRecommender:
    """A model of 3,000 items whose vectors are drawn, of many lengths: hard to search."""
    model, random = ALSRecommender(n_factors=32, n_iterations=1).fit(rows()), np.random.default_rng(0)
    model.user_vocabulary, model.item_vocabulary = Vocabulary(np.arange(200)), Vocabulary(np.arange(3000))
    model.seen = InteractionMatrix.from_rows([np.array([0], np.int32)] * 200, 3000)
    model.user_factors = random.standard_normal((200, 32), np.float32)
    lengths = random.uniform(0.5, 2, (3000, 1)).astype(np.float32)
    model.item_factors = random.standard_normal((3000, 32), np.float32) * lengths
    return model


def restored(folder: Path, search: int = 128) -> Index:
    index = Index.restore(str(folder / "index.usearch"))
    index.expansion_search = search
    return index


@pytest.mark.parametrize("variant", WITH)
def test_small_index_finds_what_the_model_recommends(variant: str, tmp_path: Path) -> None:
    model = fitted(variant)
    facts = export_model(model, "ann", tmp_path / "x", k=5).manifest["facts"]
    assert facts["recall@5"] == 1
    users = read_vectors(tmp_path / "x" / "users.parquet")
    found = restored(tmp_path / "x").search(users, 5, threads=1)
    best = model.recommend(model.user_vocabulary.ids, k=5, exclude_seen=False)
    np.testing.assert_allclose(1 - found.distances, best.score.to_numpy().reshape(-1, 5), rtol=1e-4, atol=1e-5)
    assert facts["keys"] == "item_id"
    assert (found.keys == best.item_id.to_numpy().reshape(-1, 5)).mean() > 0.9


@pytest.mark.parametrize("ids", ["text", "negative"])
def test_keys_are_rows_where_item_ids_cannot_be_keys(ids: str, tmp_path: Path) -> None:
    table = rows()
    table["item_id"] = table.item_id - 205 if ids == "negative" else "00" + table.item_id.astype(str)
    model = ALSRecommender(n_factors=4, n_iterations=2).fit(table)
    facts = export_model(model, "ann", tmp_path / "x").manifest["facts"]
    assert (facts["keys"], facts["recall@10"]) == ("row", 1)
    items = json.loads((tmp_path / "x" / "items.json").read_text())
    assert set(items) == set(table.item_id)
    users = read_vectors(tmp_path / "x" / "users.parquet")
    found = restored(tmp_path / "x").search(users, 1, threads=1)
    best = model.recommend(model.user_vocabulary.ids, k=1, exclude_seen=False)
    assert [items[key] for key in found.keys.ravel().astype(int)] == best.item_id.tolist()


def test_index_of_version_1_with_rows_as_keys_is_verified(tmp_path: Path) -> None:
    path = export_model(fitted("als"), "ann", tmp_path / "x").path
    items = read_vectors(path / "items.parquet")
    index = Index(ndim=items.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=256)
    index.add(np.arange(len(items)), items, threads=1)
    index.save(str(path / "index.usearch"))
    for name in ("users.json", "items.json"):
        (path / name).unlink()
    manifest = json.loads((path / "manifest.json").read_text())
    del manifest["facts"]["keys"], manifest["files"]["users.json"], manifest["files"]["items.json"]
    del manifest["read_with"], manifest["library_versions"]
    content = (path / "index.usearch").read_bytes()
    manifest["files"]["index.usearch"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    manifest["format_version"] = 1
    (path / "manifest.json").write_text(json.dumps(manifest))
    assert verify_export(path)["facts"]["recall@10"] == 1


@pytest.mark.parametrize("dtype", ["f32", "f16", "i8"])
def test_recall_equals_that_of_a_user_of_the_index(dtype: str, large: ALSRecommender, tmp_path: Path) -> None:
    facts = export_model(large, "ann", tmp_path / "x", dtype=dtype, sample=200).manifest["facts"]
    users, items = large.embeddings()
    exact = np.argsort(-(users @ items.T), axis=1)[:, :10]
    asked = np.column_stack((users, np.zeros(200, np.float32))) if dtype == "i8" else users
    found = restored(tmp_path / "x").search(asked, 10, threads=1).keys
    recall = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(found.tolist(), exact.tolist(), strict=True)])
    assert facts["recall@10"] == pytest.approx(recall, abs=0.002)
    assert recall > (0.6 if dtype == "i8" else 0.97)
    verify_export(tmp_path / "x")


def test_more_candidates_raise_recall(large: ALSRecommender, tmp_path: Path) -> None:
    recall = [
        export_model(large, "ann", tmp_path / str(n), expansion_search=n, expansion_add=n).manifest["facts"][
            "recall@10"
        ]
        for n in (16, 64, 512)
    ]
    assert recall == sorted(recall)
    assert recall[0] < 0.9 < 0.99 < recall[2]


def test_index_below_min_recall_is_not_written(large: ALSRecommender, tmp_path: Path) -> None:
    poor: dict[str, Any] = {"expansion_search": 10, "expansion_add": 10, "dtype": "f16"}
    with pytest.raises(
        AssertionFailedError, match=r"ann: recall@10 is 0\.\d+, below min_recall=0.99.*raise .*, or use dtype=f32"
    ):
        export_model(large, "ann", tmp_path / "x", min_recall=0.99, **poor)
    assert not (tmp_path / "x").exists()
    assert export_model(large, "ann", tmp_path / "x", min_recall=0.99).path.exists()


@pytest.mark.parametrize("k", [1, 1000])
def test_single_user_and_k_above_the_number_of_items(k: int, tmp_path: Path) -> None:
    model = ALSRecommender(n_factors=2).fit(rows().query("user_id == 101"))
    assert export_model(model, "ann", tmp_path / "x", k=k).manifest["facts"][f"recall@{k}"] == 1


def test_equal_models_give_equal_files(large: ALSRecommender, tmp_path: Path) -> None:
    first, second = (export_model(large, "ann", tmp_path / name).path for name in ("a", "b"))
    assert {file.name for file in first.iterdir()} == {
        *("index.usearch", "items.json", "items.parquet", "manifest.json", "users.json", "users.parquet")
    }
    for file in first.iterdir():
        assert file.read_bytes() == (second / file.name).read_bytes()


@pytest.mark.parametrize("variant", sorted(set(VARIANTS) - set(WITH)))
def test_model_without_embeddings_is_refused_with_a_hint(variant: str, tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"ann: \S+ has no embeddings.*models with embeddings: als.*recommendatio"
    ):
        export_model(fitted(variant), "ann", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_invalid_options_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dtype: 'f64'") as caught:
        export_model(fitted("als"), "ann", tmp_path / "x", dtype="f64", min_recall=1.5, connectivity=1)
    assert len(caught.value.problems) == 3


def test_replaced_index_is_detected(large: ALSRecommender, tmp_path: Path) -> None:
    path = export_model(large, "ann", tmp_path / "x").path
    manifest, index = verify_export(path), path / "index.usearch"
    other = Index(ndim=32, metric="ip", dtype="f32")
    other.add(np.arange(3000), large.item_factors[::-1].copy(), threads=1)
    other.save(str(index))
    with pytest.raises(ArtifactError, match=r"index\.usearch: changed or damaged"):
        verify_export(path)
    with pytest.raises(ArtifactError, match=r"recall@10 is 0\.\d+, but \d\.\d+ in the manifest"):
        AnnFormat.verify(path, manifest)
    for content in (index.read_bytes()[:1000], b"x" * 5000, b""):
        index.write_bytes(content)
        with pytest.raises(ArtifactError, match="usearch cannot search it"):
            AnnFormat.verify(path, manifest)
