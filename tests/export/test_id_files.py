import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from recctl.errors import ArtifactError
from recctl.export import export_model, verify_export
from recctl.export.embeddings import EmbeddingsFormat
from recctl.models.als import ALSRecommender
from recctl.models.base import Recommender
from tests.export.toys import fitted


def model_of_items(items: list[int] | list[str]) -> Recommender:
    table = pd.DataFrame({"user_id": ["007", "07", "7"], "item_id": items})
    return ALSRecommender(n_factors=2, n_iterations=1).fit(table)


@pytest.mark.parametrize(
    ("items", "written"),
    [
        (["1", "007", "07"], ["007", "07", "1"]),
        ([3, 1, 2], [1, 2, 3]),
        ([2**53 - 1, 1, -(2**53 - 1)], [-(2**53 - 1), 1, 2**53 - 1]),
        # JavaScript would read 2**53 + 1 as 2**53, so that two ids would become one.
        ([2**53 + 1, 2**53, 1], ["1", "9007199254740992", "9007199254740993"]),
        ([-(2**53), 0, 1], ["-9007199254740992", "0", "1"]),
    ],
)
def test_json_ids_are_in_order_of_codes_and_never_rounded(
    items: list[int] | list[str], written: list[int] | list[str], tmp_path: Path
) -> None:
    path = export_model(model_of_items(items), "embeddings", tmp_path / "x").path
    assert json.loads((path / "items.json").read_text()) == written
    assert json.loads((path / "users.json").read_text()) == ["007", "07", "7"]
    of_parquet = pq.read_table(path / "items.parquet")["item_id"].to_pylist()
    assert [str(each) for each in of_parquet] == [str(each) for each in written]


def test_json_ids_with_quotes_line_ends_and_other_alphabets(tmp_path: Path) -> None:
    model = fitted("als", text=True)
    path = export_model(model, "safetensors", tmp_path / "x").path
    assert json.loads((path / "items.json").read_bytes()) == model.item_vocabulary.ids.tolist()
    assert json.loads((path / "users.json").read_bytes()) == model.user_vocabulary.ids.tolist()


def test_replaced_ids_are_detected(tmp_path: Path) -> None:
    model = fitted("als")
    path = export_model(model, "embeddings", tmp_path / "x").path
    manifest = verify_export(path)
    ids = json.loads((path / "items.json").read_text())
    (path / "items.json").write_text(json.dumps(ids[::-1]))
    with pytest.raises(ArtifactError, match=r"items\.json: changed or damaged"):
        verify_export(path)
    with pytest.raises(ArtifactError, match=r"items\.json: when read back, the ids differ"):
        EmbeddingsFormat.verify(path, manifest, model)
    for content in ("[1, 2]", "[1, ", "{}"):
        (path / "items.json").write_text(content)
        with pytest.raises(ArtifactError, match=r"items\.json: damaged"):
            EmbeddingsFormat.verify(path, manifest)
    assert np.array_equal(ids, model.item_vocabulary.ids)
