"""What holds for every format: folders that are whole, manifests that are true, options that are refused by name."""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from recctl import EASERecommender, export_model, verify_export
from recctl.errors import ArtifactError, ConfigError, NotFittedError, UnsupportedError
from recctl.export import format_class, format_classes, format_names
from recctl.export.recommendations import RecommendationsFormat
from recctl.export.registry import missing_modules
from recctl.version import __version__
from tests.conftest import skip_without
from tests.export.toys import fitted

OURS = ["embeddings", "mlflow", "recommendations", "safetensors", "similar-items"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_formats_are_listed_with_summaries() -> None:
    assert set(OURS) <= set(format_names())
    for cls in format_classes():
        assert cls.summary().endswith(".")
        assert all(field.description for field in cls.model_fields.values()), cls.name


def test_unknown_format_is_refused_with_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unknown export format 'recomendations'; did you mean recommendations"):
        export_model(fitted("ease"), "recomendations", tmp_path / "out")


def test_all_invalid_options_are_reported_together(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        export_model(fitted("ease"), "recommendations", tmp_path / "out", k=0, file_fromat="csv", on_unknown="no")
    assert [problem.partition(": ")[2] for problem in sorted(caught.value.problems)] == [
        "k: 0: should be greater than or equal to 1",
        "on_unknown: 'no': should be 'error', 'popular' or 'skip'",
        "unknown option file_fromat; did you mean file_format?",
    ]
    with pytest.raises(ConfigError, match="unknown option k; it takes no options"):
        export_model(fitted("als"), "embeddings", tmp_path / "out", k=3)
    assert names_in(tmp_path) == []


def test_unfitted_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError, match="there is nothing to export"):
        export_model(EASERecommender(), "recommendations", tmp_path / "out")


def test_missing_module_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RecommendationsFormat, "needs", ("no_such_module",))
    monkeypatch.setattr(RecommendationsFormat, "extra", "some")
    assert missing_modules(RecommendationsFormat) == ["no_such_module"]
    with pytest.raises(ConfigError, match=r"no_such_module is not installed: pip install 'recctl\[some\]'"):
        export_model(fitted("ease"), "recommendations", tmp_path / "out")


def test_installed_package_adds_a_format(tmp_path: Path, package: Any) -> None:
    code = """if True:
    from recctl.export import ExportFormat

    class Names(ExportFormat):
        '''Names of items, a line each.'''

        name = "names"
        limit: int = 2

        def write(self, model, folder, context):
            ids = model.item_vocabulary.ids[: self.limit]
            (folder / "names.txt").write_text("".join(f"{each}\\n" for each in ids))
            return {"names": len(ids)}
    """
    package("exports", "names", code, "Names")
    package("exports", "no-format", "x = 1", "x")
    assert "names" in format_names()
    done = export_model(fitted("ease"), "names", tmp_path / "out", limit=3)
    assert (done.path / "names.txt").read_text() == "3\n10\n17\n"
    assert verify_export(done.path)["facts"] == {"names": 3}
    with pytest.raises(ConfigError, match="'no-format': its module has no subclass of ExportFormat"):
        export_model(fitted("ease"), "no-format", tmp_path / "other")


# ---- whole or not at all


def test_failed_export_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _break(monkeypatch)
    with pytest.raises(RuntimeError, match="in the middle"):
        export_model(fitted("ease"), "recommendations", tmp_path / "deep" / "out")
    assert names_in(tmp_path) == []


def test_failed_export_keeps_the_previous_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = export_model(fitted("ease"), "recommendations", tmp_path / "out", k=2)
    with monkeypatch.context() as broken:
        _break(broken)
        with pytest.raises(RuntimeError, match="in the middle"):
            export_model(fitted("ease"), "recommendations", tmp_path / "out", force=True)
    assert names_in(tmp_path) == ["out"]
    assert verify_export(tmp_path / "out") == done.manifest


def _break(monkeypatch: pytest.MonkeyPatch) -> None:
    def best(*_: Any) -> Any:
        raise RuntimeError("in the middle")

    monkeypatch.setattr("recctl.export._target_users.TargetUsers.rank", best)


def test_export_that_differs_from_the_model_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fitted("ease")
    wrong = np.float32(0.1)
    monkeypatch.setattr(type(model), "score_pairs", lambda self, users, items: np.full(len(users), wrong))
    with pytest.raises(ArtifactError, match="read back, scores differ from the model's by up to"):
        export_model(model, "recommendations", tmp_path / "out")
    assert names_in(tmp_path) == []


def test_export_is_replaced_only_with_force(tmp_path: Path) -> None:
    model, out = fitted("ease"), tmp_path / "out"
    export_model(model, "recommendations", out, k=2)
    with pytest.raises(ConfigError, match="already holds an export; replace it with --force"):
        export_model(model, "recommendations", out, k=3)
    assert verify_export(out)["options"]["k"] == 2
    export_model(model, "similar-items", out, k=3, force=True)
    assert names_in(out) == ["manifest.json", "similar_items.parquet"]
    assert names_in(tmp_path) == ["out"]


def test_export_in_the_folder_of_the_run_can_be_repeated(recctl: Any, workdir: Path) -> None:
    recctl("train", "small.yaml", "-q")
    for k in ("2", "3"):
        done = recctl("export", "latest", "--format", "recommendations", "-k", k, "--json")
        assert done.code == 0, done.err
    assert verify_export(Path(done.json["path"]))["options"]["k"] == 3


def test_other_files_are_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("out", "file"):
        with pytest.raises(ConfigError, match="exists and is not an export"):
            export_model(fitted("ease"), "recommendations", tmp_path / name, force=True)
    (tmp_path / "empty").mkdir()
    export_model(fitted("ease"), "recommendations", tmp_path / "empty")


def test_unwritable_path_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="can't be written: Not a directory"):
        export_model(fitted("ease"), "recommendations", tmp_path / "file" / "out")


# ---- manifests


@pytest.mark.parametrize("name", ["recommendations", "safetensors", "similar-items"])
def test_equal_exports_have_equal_manifests(tmp_path: Path, name: str) -> None:
    a, b = (export_model(fitted("ease"), name, tmp_path / place) for place in "ab")
    assert a.manifest == b.manifest
    assert a.manifest == json.loads((tmp_path / "a" / "manifest.json").read_text())
    assert a.manifest["model"]["hyperparameters"] == {"l2_reg": 500.0}
    assert a.manifest["model"]["sha256"] == fitted("ease").save(tmp_path / "model.pkl")
    assert (a.manifest["n_users"], a.manifest["n_items"], a.manifest["run_id"]) == (30, 20, None)


@pytest.mark.parametrize("name", ["ann", "embeddings", "onnx", "recommendations", "safetensors", "similar-items"])
def test_manifest_says_what_reads_each_file_and_what_wrote_it(tmp_path: Path, name: str) -> None:
    if missing_modules(format_class(name)):
        skip_without(missing_modules(format_class(name))[0], f"recctl[{name}]")
    manifest = export_model(fitted("als"), name, tmp_path / "out").manifest
    assert manifest["read_with"].keys() == manifest["files"].keys()
    assert all(manifest["read_with"].values())
    assert manifest["recctl_version"] == __version__
    libraries = manifest["library_versions"]
    assert libraries == {library: version(library) for library in libraries}
    assert {"pyarrow", "safetensors"} & libraries.keys()
    assert set(format_class(name).needs) <= libraries.keys()


@pytest.mark.parametrize("name", ["embeddings", "recommendations", "safetensors", "similar-items"])
def test_changed_byte_is_detected(tmp_path: Path, name: str) -> None:
    done = export_model(fitted("als"), name, tmp_path / "out")
    for file in done.manifest["files"]:
        path = done.path / file
        content = path.read_bytes()
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
        with pytest.raises(ArtifactError, match=f"{file}: changed or damaged"):
            verify_export(done.path)
        path.write_bytes(content)
    verify_export(done.path)


def test_missing_and_additional_files_are_detected(tmp_path: Path) -> None:
    done = export_model(fitted("als"), "embeddings", tmp_path / "out")
    (done.path / "users.parquet").rename(done.path / "people.parquet")
    with pytest.raises(ArtifactError) as caught:
        verify_export(done.path)
    assert str(caught.value).splitlines() == [
        f"{done.path / 'users.parquet'}: missing",
        f"{done.path / 'people.parquet'}: not in manifest.json",
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is not an export, or is incomplete"),
        ("{", "damaged"),
        ("[]", "not the manifest of a recctl export"),
        ('{"recctl_export": true}', "not the manifest of a recctl export"),
        ('{"recctl_export": 99}', "manifest version 99; this recctl reads 1; upgrade recctl"),
        ('{"recctl_export": 1, "format": 3}', "invalid: format, format_version, model, options, facts, files"),
    ],
)
def test_invalid_manifest_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ArtifactError, match=message):
        verify_export(tmp_path)


def test_manifest_without_required_options_is_refused(tmp_path: Path) -> None:
    done = export_model(fitted("als"), "recommendations", tmp_path / "out")
    _edit(done.path, options={})
    with pytest.raises(
        ArtifactError, match=r"manifest.json is not valid for recommendations: KeyError\('file_format'\)"
    ):
        verify_export(done.path)


def test_newer_format_version_is_refused(tmp_path: Path) -> None:
    done = export_model(fitted("als"), "embeddings", tmp_path / "out")
    _edit(done.path, format_version=99)
    with pytest.raises(ArtifactError, match="embeddings version 99; this recctl reads 1; upgrade recctl"):
        verify_export(done.path)
    _edit(done.path, format="embedings")
    with pytest.raises(ConfigError, match="did you mean embeddings"):
        verify_export(done.path)


def test_table_that_differs_from_its_manifest_is_detected(tmp_path: Path) -> None:
    done = export_model(fitted("als"), "recommendations", tmp_path / "out")
    facts = done.manifest["facts"]
    _edit(done.path, facts={**facts, "rows": 7})
    with pytest.raises(ArtifactError, match="rows, not 7"):
        verify_export(done.path)
    _edit(done.path, facts={**facts, "columns": {"user_id": "string"}})
    with pytest.raises(ArtifactError, match="its columns are user_id int64, item_id int64, score float, rank int32"):
        verify_export(done.path)
    _edit(done.path, facts={**facts, "columns": {"user_id": "no such type"}})
    with pytest.raises(ArtifactError, match="describes no table"):
        verify_export(done.path)


def _edit(folder: Path, **values: Any) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


# ---- single formats


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("variant", ["als ratings", "svdpp", "lightgcn", "mult-vae", "sasrec", "ncf gmf"])
def test_embeddings_reproduce_the_scores(tmp_path: Path, variant: str, text: bool) -> None:
    model = fitted(variant, text)
    done = export_model(model, "embeddings", tmp_path / "out")
    users, items = (pq.read_table(done.path / f"{side}.parquet").to_pandas() for side in ("users", "items"))
    scores = np.stack(users.embedding) @ np.stack(items.embedding).T
    expected = model.score_users(np.arange(len(users), dtype=np.int32))
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
    assert users.user_id.tolist() == model.user_vocabulary.ids.tolist()
    assert items.item_id.tolist() == model.item_vocabulary.ids.tolist()
    verify_export(done.path)


def test_model_without_embeddings_lists_models_that_have_them(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"ease has no embeddings.*; models with embeddings: als, bpr, lightgcn, mult-vae, ncf"
    ):
        export_model(fitted("ease"), "embeddings", tmp_path / "deep" / "out")
    assert not os.listdir(tmp_path)


SIMILAR = ["ease", "slim", "item-knn", "rp3beta", "als", "svd", "ncf", "lightgcn", "mult-vae", "sasrec"]


@pytest.mark.parametrize("variant", SIMILAR)
@pytest.mark.parametrize("text", [False, True])
def test_similar_items_equal_the_models(
    tmp_path: Path, variant: str, text: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("recctl.export.similar_items._ITEMS_PER_BLOCK", 7)
    model = fitted(variant, text)
    items = model.item_vocabulary.ids
    from tests.export.test_recommendations import READ, same

    for file_format, read in READ.items():
        out = tmp_path / file_format
        export_model(model, "similar-items", out, k=4, file_format=file_format)
        same(read(out / f"similar_items.{file_format}"), model.similar_items(items, k=4))
        verify_export(out)
    export_model(model, "similar-items", tmp_path / "some", k=2, items=items[[3, 1]])
    same(READ["parquet"](tmp_path / "some" / "similar_items.parquet"), model.similar_items(items[[3, 1]], k=2))


def test_model_without_similar_items_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="popularity does not define similar items"):
        export_model(fitted("popularity"), "similar-items", tmp_path / "out")
