"""Sources and exports in Google Cloud Storage."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl import InteractionDataset, export_model, make_model
from recctl.data.sources import ReadOptions, read_source
from recctl.errors import ConfigError, DataError
from recctl.export import verify_export
from tests.conftest import skip_without
from tests.data.sources.remote.gcs_server import Store, gcs_server

skip_without("fsspec", "pip install 'recctl[remote]'")


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A server with a bucket whose name is in a variable."""
    monkeypatch.setenv("SHOP_BUCKET", "shopbucket77")
    with gcs_server(tmp_path_factory.mktemp("gcs")) as store:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", store.url)
        yield store


def _frame(n_rows: int = 300) -> pd.DataFrame:
    rows = np.arange(n_rows)
    return pd.DataFrame({"user_id": rows % 37, "item_id": rows % 11, "timestamp": 1_600_000_000 + rows})


def _content(frame: pd.DataFrame, form: str) -> bytes:
    buffer = io.BytesIO()
    if form == "csv":
        frame.to_csv(buffer, index=False)
    else:
        frame.to_parquet(buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["csv", "parquet"])
@pytest.mark.parametrize("url", ["gs://${SHOP_BUCKET}/a b/events.{}", "gcs://${SHOP_BUCKET}/a b/*.{}"])
def test_file_is_read_and_recorded_by_its_template(store: Store, form: str, url: str) -> None:
    store.objects[f"shopbucket77/a b/events.{form}"] = _content(_frame(), form)
    store.objects["shopbucket77/a b/notes.txt"] = b"no table"
    template = url.replace("{}", form)
    table = read_source(template)
    assert table.frame.equals(_frame())
    assert table.provenance["source"] == template
    assert "shopbucket77" not in str(table.provenance)


def test_folder_is_read_as_one_table(store: Store) -> None:
    for day in (1, 2):
        frame = _frame()[_frame()["item_id"] == day]
        store.objects[f"shopbucket77/events/day={day}/part-0.parquet"] = _content(frame, "parquet")
    table = read_source("gs://shopbucket77/events", ReadOptions(extra_columns=("day",)))
    assert (table.frame["day"] == table.frame["item_id"].astype(str)).all()
    assert len(table) == (_frame()["item_id"].isin([1, 2])).sum()


def test_command_reads_a_file_and_stores_the_template(recctl: Any, workdir: Path, store: Store) -> None:
    store.objects["shopbucket77/events.csv"] = _content(_frame(), "csv")
    (workdir / "c.yaml").write_text("data: {source: 'gs://${SHOP_BUCKET}/events.csv'}\nmodel: {name: popularity}\n")
    done = recctl("train", "c.yaml", "--json")
    assert done.code == 0, done.err
    files = [path for path in Path(done.json["path"]).rglob("*") if path.is_file()]
    assert "gs://${SHOP_BUCKET}/events.csv" in (Path(done.json["path"]) / "config.yaml").read_text()
    assert not [path for path in files if b"shopbucket77" in path.read_bytes()]
    assert "shopbucket77" not in done.out + done.err


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("gs://${SHOP_BUCKET}/nothing.csv", r"gs://\$\{SHOP_BUCKET\}/nothing.csv: does not exist"),
        ("gs://${SHOP_BUCKET}/nothing/*.csv", "no file matches the pattern"),
    ],
)
def test_missing_object_is_an_error_that_shows_the_template(store: Store, url: str, problem: str) -> None:
    store.objects["shopbucket77/events.csv"] = b"1,2\n"
    with pytest.raises(DataError, match=problem) as raised:
        read_source(url)
    assert "shopbucket77" not in str(raised.value)


def test_refused_request_is_an_error_without_the_value_of_a_variable(store: Store) -> None:
    store.refuse()
    with pytest.raises(DataError, match=r"gs://\$\{SHOP_BUCKET\}/events.csv: can't be read: .*401.*Invalid") as raised:
        read_source("gs://${SHOP_BUCKET}/events.csv")
    assert "shopbucket77" not in str(raised.value)


def test_refused_credentials_are_an_error_that_does_not_show_them(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secrets = {"client_secret": "hunter7766", "refresh_token": "refresh8877"}
    credentials = {"type": "authorized_user", "client_id": "me", "token_uri": f"{store.url}/token", **secrets}
    (tmp_path / "credentials.json").write_text(json.dumps(credentials))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "credentials.json"))
    # The client requests a token first, and nothing of Google if it gets none.
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    caplog.set_level(logging.DEBUG)
    with pytest.raises(DataError, match=r"gs://shop/events.csv: can't be read") as raised:
        read_source("gs://shop/events.csv")
    assert store.requests == ["POST /token"]
    assert "401" in str(raised.value)
    for secret in secrets.values():
        assert secret not in str(raised.value) + caplog.text


def test_export_is_uploaded_replaced_and_verified(store: Store) -> None:
    model = make_model("popularity").fit(InteractionDataset(_frame()))
    url = "gs://${SHOP_BUCKET}/exports/lists"
    exported = export_model(model, "recommendations", url, k=3)
    assert str(exported.path) == url
    names = {key.removeprefix("shopbucket77/exports/lists/") for key in store.objects}
    assert "manifest.json" in names
    assert "recctl-upload-incomplete" not in names
    lists = next(name for name in names if name.endswith(".parquet"))
    found = pd.read_parquet(io.BytesIO(store.objects[f"shopbucket77/exports/lists/{lists}"]))
    assert found["user_id"].nunique() == 37
    assert found.groupby("user_id").size().max() == 3
    assert b"shopbucket77" not in store.objects["shopbucket77/exports/lists/manifest.json"]
    with pytest.raises(ConfigError, match="already holds an export; replace it with --force"):
        export_model(model, "recommendations", url, k=3)
    export_model(model, "recommendations", url, k=3, force=True)
    verify_export(url)


def test_export_replaces_nothing_else(store: Store) -> None:
    store.objects["shopbucket77/exports/notes.txt"] = b"mine"
    model = make_model("popularity").fit(InteractionDataset(_frame()))
    with pytest.raises(ConfigError, match="exists and is not an export"):
        export_model(model, "recommendations", "gs://shopbucket77/exports", k=3, force=True)
    assert store.objects["shopbucket77/exports/notes.txt"] == b"mine"
