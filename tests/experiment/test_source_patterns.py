"""Folders and patterns of files as the source of a config."""

from __future__ import annotations

import json

import pytest

from recctl import experiment
from recctl.experiment import data
from recctl.experiment.data import resolve_config


@pytest.fixture
def load(tmp_path):
    """Write a config with these values of `data`, beside twelve parts in a folder `events`."""
    (tmp_path / "events").mkdir()
    for part in range(12):
        rows = "".join(f"{user},{(user * part) % 7}\n" for user in range(10))
        (tmp_path / "events" / f"part-{part:02}.csv").write_text(f"user_id,item_id\n{rows}")

    def make(split=None, **values):
        path = tmp_path / "config.yaml"
        path.write_text(json.dumps({"data": values, **({"split": split} if split else {})}))
        return experiment.load(path)

    return make


@pytest.mark.parametrize(("source", "n_parts"), [("events", 12), ("events/*.csv", 12), ("events/part-0?.csv", 10)])
def test_patterns_start_from_the_folder_of_the_config(load, tmp_path, source, n_parts):
    loaded = load(source=source)
    prepared = data.read_dataset(loaded)
    assert len(prepared.dataset) == 10 * n_parts
    assert [file["rows_read"] for file in prepared.record["files"]] == [10] * n_parts
    # A run stores the absolute pattern, which matches the same files from everywhere.
    assert resolve_config(loaded)["data"]["source"] == str(tmp_path / source)


def test_parts_of_a_predefined_split_may_be_patterns(load):
    split = {"strategy": "predefined", "test": "events/part-1?.csv"}
    prepared = data.prepare(load(split, source="events/part-0?.csv"))
    assert len(prepared.split.train(prepared.dataset)) == 100
    assert len(prepared.split.test(prepared.dataset)) == 20
