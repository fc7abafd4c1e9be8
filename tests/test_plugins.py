"""Metrics, sources and strategies of plug-in packages in whole experiments."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl.errors import ConfigError
from recctl.plugins import Registry
from tests.conftest import SMALL

FIRST_HIT = '''
from recctl.metrics import Metric

def first_hit(lists):
    """Whether the first item is relevant."""
    import numpy as np
    return np.repeat(lists.hits[:, :1], lists.hits.shape[1], axis=1)

METRIC = Metric(first_hit, "lists")
'''

HALF = """
import numpy as np
import pandas as pd

def read():
    users, items = np.divmod(np.arange(900), 30)
    kept = (users + items) % 2 == 0
    return pd.DataFrame({"user_id": users[kept], "item_id": items[kept], "colour": "red"})
"""

SECOND = """
from recctl.tuning.strategies import FixedPoints

def make(section, space, first, seed):
    return FixedPoints([{"l2_reg": 10.0 * n} for n in range(1, (section.n_trials or 3))])
"""


def test_metric_of_plugin_is_evaluated(recctl: Any, workdir: Path, package: Any) -> None:
    package("metrics", "first_hit", FIRST_HIT, "METRIC")
    (workdir / "x.yaml").write_text(SMALL.replace("hit_rate]", "first_hit]").replace("k_values: [5", "k_values: [1, 5"))
    found = recctl("train", "x.yaml", "--json").json["metrics"]["test"]
    assert found["first_hit@1"] == found["first_hit@10"] == found["precision@1"] > 0
    assert "first_hit" in recctl("config", "metrics").out


def test_source_of_plugin_is_read(recctl: Any, workdir: Path, package: Any) -> None:
    package("sources", "half", HALF, "read")
    config = SMALL.replace("source: synthetic", "source: half")
    (workdir / "x.yaml").write_text("\n".join(line for line in config.splitlines() if "synthetic:" not in line))
    run = recctl("train", "x.yaml", "--json").json
    assert "source: half" in (workdir / run["path"] / "config.yaml").read_text()
    assert recctl("evaluate", run["run_id"]).code == 0
    assert "450" in recctl("data", "describe", "half").out
    assert "half" in recctl("data", "list").out
    wrong = recctl("train", "x.yaml", "--set", "data.delimiter=;")
    assert (wrong.code, "half has its own layout" in wrong.err) == (2, True)
    wrong = recctl("train", "x.yaml", "--set", "data.source=hlaf")
    assert (wrong.code, "did you mean half?" in wrong.err) == (3, True)


def test_strategy_of_plugin_searches(recctl: Any, workdir: Path, package: Any) -> None:
    (workdir / "x.yaml").write_text(SMALL)
    wrong = recctl("tune", "x.yaml", "--strategy", "secnd")
    assert (wrong.code, "unknown strategy 'secnd'; one of manual, grid" in wrong.err) == (2, True)
    package("strategies", "second", SECOND, "make")
    wrong = recctl("tune", "x.yaml", "--strategy", "secnd")
    assert "did you mean second?" in wrong.err
    run = recctl("tune", "x.yaml", "--strategy", "second", "--trials", "3", "--json").json
    trials = pd.read_parquet(workdir / run["path"] / "trials.parquet")
    assert trials["l2_reg"].tolist() == [50.0, 10.0, 20.0]
    assert "second" in recctl("config", "schema").out


def test_registry_prefers_built_ins_and_imports_plugins_lazily(package: Any) -> None:
    package("metrics", "ours", "raise RuntimeError('imported')", "x")
    registry = Registry("metrics", {"ndcg": 1})
    assert list(registry) == ["ndcg", "ours"]
    assert len(registry) == 2
    assert "ours" in registry
    assert registry["ndcg"] == 1
    with pytest.raises(ConfigError, match="ours of the package pack_ours can't be imported: RuntimeError: imported"):
        registry["ours"]
    with pytest.raises(KeyError):
        registry["theirs"]
    assert registry.get("theirs") is None
