"""`--json` prints one document to stdout, however a command ends."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recctl import cli
from recctl.cli import document, terminal
from recctl.cli.settings import settings


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "latest", "-k", "abc"),
        ("recommend",),
        ("train", "--no-such-option"),
        ("train", "a", "b"),
        ("train", "small.yaml", "--threads", "0"),
        ("evaluate", "latest", "--on", "tset"),
        ("trian",),
        ("runs", "lsit"),
        ("runs",),
        (),
    ],
)
def test_usage_error_is_one_document(recctl: Any, arguments: tuple[str, ...]) -> None:
    done = recctl(*arguments, "--json")
    assert done.code == 2
    assert (done.json["status"], done.json["exit_code"]) == ("error", 2)
    assert done.json["errors"], done.out
    assert done.err, "people read the message on stderr"


def test_failed_assertion_keeps_the_result(recctl: Any) -> None:
    recctl("train", "small.yaml")
    passed = recctl("evaluate", "latest", "--assert", "ndcg@10>=0", "--json").json
    failed = recctl("evaluate", "latest", "--assert", "ndcg@10>=0.999", "--json")
    assert failed.code == failed.json["exit_code"] == 6
    assert failed.json["measured"] == passed["measured"]
    assert "is not >= 0.999" in failed.json["errors"][0]
    assert "errors" not in passed


def test_damaged_run_is_one_document(recctl: Any) -> None:
    path = Path(recctl("train", "small.yaml", "--json").json["path"])
    (path / "metrics.json").write_text("{")
    done = recctl("runs", "verify", "--json")
    assert done.code == done.json["exit_code"] == 4
    assert [fault["file"] for fault in done.json["faults"]] == ["metrics.json"]


def test_worse_run_is_one_document(recctl: Any) -> None:
    baseline = recctl("train", "small.yaml", "--json").json["run_id"]
    worse = recctl("train", "small.yaml", "-s", "model.name=random", "--json").json["run_id"]
    done = recctl("compare", worse, baseline, "--fail-if-worse", "--resamples", "500", "--json")
    assert done.code == done.json["exit_code"] == 6
    assert done.json["comparison"]["worse"]
    assert done.json["errors"]


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (KeyboardInterrupt(), 130, "interrupted"),
        (MemoryError(), 5, "error"),
        (OSError(28, "No space left on device"), 4, "error"),
        (ZeroDivisionError("oops"), 1, "error"),
    ],
)
def test_any_end_is_one_document(
    recctl: Any, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, status: str
) -> None:
    def fail(values: dict[str, Any]) -> None:
        document.set_values(values)
        raise error

    monkeypatch.setattr(terminal, "print_json", fail)
    done = recctl("models", "--json")
    assert done.code == code
    assert (done.json["status"], done.json["exit_code"]) == (status, code)
    assert done.json["models"], "what was found before the failure is kept"


def test_plugin_that_prints_does_not_break_the_document(recctl: Any, package: Callable[..., None]) -> None:
    code = (
        "from recctl.models.popularity import PopularityRecommender\n"
        "class TalkativeRecommender(PopularityRecommender):\n"
        "    def _fit(self, interactions):\n"
        "        print('fitting')\n"
        "        super()._fit(interactions)\n"
    )
    package("models", "talkative", code, "TalkativeRecommender")
    done = recctl("train", "small.yaml", "-s", "model.name=talkative", "--json")
    assert done.json["status"] == "complete"
    assert "fitting" in done.err
    assert "fitting" in recctl("train", "small.yaml", "-s", "model.name=talkative").out


@pytest.mark.parametrize("arguments", [("train", "--help"), ("runs", "list", "-h")])
def test_help_is_one_document(recctl: Any, arguments: tuple[str, ...]) -> None:
    shown = recctl(*arguments).out
    done = recctl(*arguments, "--json")
    assert done.code == 0
    assert done.json["text"].split() == shown.split()


def test_option_as_a_value_is_no_flag(recctl: Any) -> None:
    recctl("train", "small.yaml")
    done = recctl("runs", "note", "latest", "--", "--json")
    assert done.code == 0
    assert "--json" in done.out
    with pytest.raises(json.JSONDecodeError):
        _ = done.json
    # Here the parser takes it for the value of -m.
    assert recctl("evaluate", "latest", "-m", "--json").out == ""


def test_document_is_strict_json() -> None:
    import numpy as np

    document.begin(["--json"])
    document.set_values(
        {
            "nan": [float("nan"), 1.5],
            "infinity": (float("inf"),),
            "numpy": {"int": np.int64(3), "nan": np.float32("nan"), "array": np.array([1.0, np.nan])},
            "path": Path("a/b"),
        }
    )
    text = document.take_text()
    assert document.take_text() == "", "there is one document"
    settings.reset()
    assert json.loads(text, parse_constant=pytest.fail) == {
        "nan": [None, 1.5],
        "infinity": [None],
        "numpy": {"int": 3, "nan": None, "array": [1.0, None]},
        "path": f"a{os.sep}b",
    }


def test_text_of_one_command_does_not_leak_into_the_next(recctl: Any) -> None:
    assert "models" in recctl("models", "--json").json
    assert recctl("models").out.startswith("model")
    assert "models" not in recctl("models", "nope", "--json").json
    assert cli.run(["--version"]) == 0
