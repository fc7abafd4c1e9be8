from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl import export_model, verify_export
from recctl.errors import ConfigError, DataError
from recctl.export import _table_files
from recctl.ranking import blocks
from tests.export.toys import VARIANTS, fitted, hostile, rows
from tests.ranking.ties import key_of_id, ranking

READ = {
    "parquet": pd.read_parquet,
    "csv": pd.read_csv,
    "jsonl": lambda path: pd.read_json(path, lines=True, precise_float=True, dtype=False),
}


def exported(tmp_path: Path, model: Any, file_format: str = "parquet", **options: Any) -> pd.DataFrame:
    done = export_model(model, "recommendations", tmp_path / "out", force=True, file_format=file_format, **options)
    table = READ[file_format](done.path / f"recommendations.{file_format}")
    assert len(table) == done.manifest["facts"]["rows"]
    assert table.user_id.nunique() <= done.manifest["facts"]["users"]
    return table


def same(written: pd.DataFrame, expected: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(written, expected, check_dtype=False, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("text", [False, True])
def test_table_equals_the_models_recommendations(tmp_path: Path, variant: str, text: bool) -> None:
    model = fitted(variant, text)
    same(exported(tmp_path, model, k=3), model.recommend(model.user_vocabulary.ids, k=3))
    verify_export(tmp_path / "out")


@pytest.mark.parametrize("file_format", READ)
@pytest.mark.parametrize("text", [False, True])
def test_all_file_formats_hold_the_same_table(tmp_path: Path, file_format: str, text: bool) -> None:
    model = fitted("ease", text)
    same(exported(tmp_path, model, file_format), model.recommend(model.user_vocabulary.ids))
    verify_export(tmp_path / "out")


def test_columns_have_compact_types(tmp_path: Path) -> None:
    table = exported(tmp_path, fitted("ease"))
    assert [str(kind) for kind in table.dtypes] == ["int64", "int64", "float32", "int32"]


def test_include_seen_keeps_seen_items(tmp_path: Path) -> None:
    model = fitted("ease")
    expected = model.recommend(model.user_vocabulary.ids, k=5, exclude_seen=False)
    same(exported(tmp_path, model, k=5, include_seen=True), expected)


def test_users_with_few_unseen_items_get_shorter_lists(tmp_path: Path) -> None:
    model = fitted("ease")
    table = exported(tmp_path, model, k=1000)
    same(table, model.recommend(model.user_vocabulary.ids, k=1000))
    assert verify_export(tmp_path / "out")["facts"]["users_with_fewer_than_k"] == len(model.user_vocabulary)


def best_by_hand(model: Any, k: int, allowed: set[Any], seen_too: bool) -> pd.DataFrame:
    """Everything scored, sorted, and filtered: what the masks must come to."""
    found = []
    for code, user in enumerate(model.user_vocabulary.ids.tolist()):
        scores = model.score_users(np.array([code], np.int32))[0]
        had = set(model.seen.columns[model.seen.starts[code] : model.seen.starts[code + 1]].tolist())
        ids = model.item_vocabulary.ids.tolist()
        shown = [at for at in range(len(ids)) if ids[at] in allowed and (seen_too or at not in had)]
        ranked = ranking({ids[at]: scores[at] for at in shown}, key_of_id(user))[:k]
        kept = [ids.index(item) for item in ranked]
        found += [(user, ids[at], scores[at], rank) for rank, at in enumerate(kept, start=1)]
    return pd.DataFrame(found, columns=["user_id", "item_id", "score", "rank"])


@pytest.mark.parametrize("variant", ["ease", "popularity", "random", "als", "ncf"])
@pytest.mark.parametrize("include_seen", [False, True])
def test_allow_and_block_still_give_k_items(tmp_path: Path, variant: str, include_seen: bool) -> None:
    model = fitted(variant)
    items = model.item_vocabulary.ids.tolist()
    allow, block = items[:15], [*items[3:6], -1]
    table = exported(tmp_path, model, k=4, allow=allow, block=block, include_seen=include_seen)
    same(table, best_by_hand(model, 4, set(allow) - set(block), include_seen))


def test_block_of_every_allowed_item_is_refused(tmp_path: Path) -> None:
    model = fitted("ease")
    items = model.item_vocabulary.ids[:3]
    with pytest.raises(ConfigError, match="block excludes every item that allow permits"):
        export_model(model, "recommendations", tmp_path / "out", allow=items, block=items)
    with pytest.raises(DataError, match=r"allow: the model knows none of these 2 ids, such as \[-1, -2\]"):
        export_model(model, "recommendations", tmp_path / "out", allow=[-1, -2])
    assert not (tmp_path / "out").exists()


# ---- users


@pytest.mark.parametrize(
    ("ending", "text"),
    [
        ("txt", False),
        ("csv", False),
        ("csv", True),
        ("tsv", False),
        ("tsv", True),
        ("parquet", False),
        ("parquet", True),
    ],
)
def test_users_are_read_from_files(tmp_path: Path, ending: str, text: bool) -> None:
    model = fitted("ease", text)
    wanted = model.user_vocabulary.ids[[7, 2, 11]].tolist()
    path = tmp_path / f"users.{ending}"
    frame = pd.DataFrame({"user_id": wanted, "name": ["a", "b", "c"]})
    if ending == "txt":
        path.write_text("\r\n".join(map(str, wanted)) + "\n\n")
    elif ending == "parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="\t" if ending == "tsv" else ",", index=False, lineterminator="\n")
    same(exported(tmp_path, model, users=path), model.recommend(wanted))
    told = verify_export(tmp_path / "out")["options"]["users"]
    assert told["file"] == path.name
    assert len(told["sha256"]) == 64


def test_invalid_user_files_are_refused(tmp_path: Path) -> None:
    model = fitted("ease")
    for name, content, message in (
        ("a.txt", "100\nbob\n", "'bob': the ids of this model are integers"),
        ("a.csv", "id,user\n1,2\n", "no column user_id; the columns are id, user"),
        ("a.csv", "user_id,x\n1,2\n,3\n", "''|missing"),
        ("a.parquet", "no parquet", "can't be read"),
        ("a.txt", "\xff", "can't be read"),
    ):
        (tmp_path / name).write_text(content, encoding="latin-1")
        with pytest.raises(DataError, match=f"a.*{message}"):
            export_model(model, "recommendations", tmp_path / "out", users=tmp_path / name)
    with pytest.raises(DataError, match="No such file"):
        export_model(model, "recommendations", tmp_path / "out", users=tmp_path / "none.txt")


@pytest.mark.parametrize("on_unknown", ["popular", "skip"])
def test_on_unknown_works_as_in_recommend(tmp_path: Path, on_unknown: Any) -> None:
    model = fitted("als")
    wanted = [100, -5, 103, 99_999]
    expected = model.recommend(wanted, k=4, on_unknown=on_unknown)
    same(exported(tmp_path, model, users=wanted, k=4, on_unknown=on_unknown), expected)


def test_unknown_users_are_refused_by_default(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"als: user -5: not in the data the model was fitted on; see on_unknown"):
        export_model(fitted("als"), "recommendations", tmp_path / "out", users=[100, -5])


def test_unknown_users_get_allowed_popular_items(tmp_path: Path) -> None:
    model = fitted("als")
    counts = dict(zip(model.item_vocabulary.ids.tolist(), model.seen.column_counts().tolist(), strict=True))
    popular = ranking(counts, key_of_id(-5))
    table = exported(tmp_path, model, users=[-5], on_unknown="popular", k=3, block=popular[:2])
    assert table.item_id.tolist() == popular[2:5]


@pytest.mark.parametrize("variant", VARIANTS)
def test_histories_of_unknown_users_get_recommendations(tmp_path: Path, variant: str) -> None:
    model = fitted(variant)
    table = rows()[["user_id", "item_id", "timestamp"] + (["rating"] if model.needs_ratings else [])]
    table = pd.concat([table[table.user_id < 110], pd.DataFrame([{"user_id": 5, "item_id": -1, "timestamp": 1}])])
    if model.needs_ratings:
        table["rating"] = table["rating"].fillna(3.0)
    table["user_id"] += 5000
    path = tmp_path / "strangers.csv"
    table.to_csv(path, index=False)
    expected = model.recommend_for_history(table, on_unknown="popular")
    same(exported(tmp_path, model, histories=path, on_unknown="popular"), expected)


def test_users_and_histories_together_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="set only one"):
        export_model(fitted("ease"), "recommendations", tmp_path / "out", users=[100], histories=tmp_path / "x")


# ---- memory, and text


def test_memory_holds_scores_of_one_block_of_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("ease")
    sizes, waiting = [], []
    monkeypatch.setattr(blocks, "_SCORES_PER_BLOCK", 7 * len(model.item_vocabulary))
    monkeypatch.setattr(_table_files, "_ROWS_PER_WRITE", dict.fromkeys(_table_files._ROWS_PER_WRITE, 40))
    monkeypatch.setitem(_table_files._WRITERS, "csv", _spied(_table_files._WRITERS["csv"], waiting))
    scored = type(model).score_users

    def score(self: Any, users: np.ndarray) -> np.ndarray:
        sizes.append(len(users))
        return scored(self, users)

    monkeypatch.setattr(type(model), "score_users", score)
    table = exported(tmp_path, model, "csv", k=2)
    same(table, model.recommend(model.user_vocabulary.ids, k=2))
    assert max(sizes[:5]) == 7
    assert len(waiting) > 1
    assert max(waiting) < 40 + 2 * 7


def _spied(writer: Any, seen: list[int]) -> Any:
    from contextlib import contextmanager

    @contextmanager
    def opened(*arguments: Any) -> Any:
        with writer(*arguments) as write:
            yield lambda table: (seen.append(len(table)), write(table))

    return opened


def test_text_ids_are_escaped_in_csv_and_json(tmp_path: Path) -> None:
    model = fitted("popularity", text=True)
    exported(tmp_path, model, "csv", k=1)
    with (tmp_path / "out" / "recommendations.csv").open(encoding="utf-8", newline="") as file:
        content = file.read()
    first = hostile(100).replace('"', '""')
    assert content.startswith(f'"user_id","item_id","score","rank"\n"{first}",')
    exported(tmp_path, model, "jsonl", k=1)
    assert (tmp_path / "out" / "recommendations.jsonl").read_bytes().count(b"\n") == len(model.user_vocabulary)


def test_progress_is_reported(tmp_path: Path, listener: Any) -> None:
    model = fitted("ease")
    exported(tmp_path, model)
    assert ("Recommending", 30, "users") in listener.started
    assert listener.updates[-1][0] == 30


def test_results_do_not_depend_on_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("als")
    hashes = set()
    for threads in ("1", "3"):
        monkeypatch.setenv("RECCTL_THREADS", threads)
        done = export_model(model, "recommendations", tmp_path / threads)
        hashes.add(done.manifest["files"]["recommendations.parquet"]["sha256"])
    assert len(hashes) == 1
