"""Wrong types and values of every argument of the public functions and methods are refused, by name."""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import recctl
from recctl import (
    EarlyStopping,
    Evaluator,
    InteractionDataset,
    ModelCheckpoint,
    RunStore,
    experiment,
    export_model,
    export_run,
    load_model,
    load_movielens,
    make_model,
    tuning,
    verify_export,
    write_report,
)
from recctl.data import preprocessing, sources, synthetic
from recctl.errors import RecctlError
from recctl.experiment.comparison.result import ComparisonOptions
from recctl.experiment.comparison.run import Repeats
from recctl.models.base import Recommender
from recctl.runs import Run
from recctl.tracking import MLflowLogger, TensorBoardLogger
from recctl.training import StopAfter

VALUES = [None, -1, 0, 2.5, "x", "3", math.nan, math.inf, [], {}, [None], True, object()]

TABLE = pd.DataFrame(
    {
        "user_id": np.repeat(np.arange(12), 6),
        "item_id": (np.repeat(np.arange(12), 6) * 5 + np.tile(np.arange(6), 12)) % 17,
        "rating": np.tile([1.0, 2.0, 3.0, 4.0, 5.0, 3.0], 12),
        "timestamp": np.arange(72),
    }
)
HELD_OUT = TABLE.assign(item_id=(TABLE.item_id + 6) % 17)
CONFIG = """\
data: {source: synthetic, synthetic: {n_users: 30, n_items: 20, n_interactions: 300}}
split: {test_size: 0.2, val_size: 0.1}
model: {name: ease}
evaluation: {metrics: [ndcg], k_values: [10]}
"""

# ---- kinds of arguments: which of VALUES are valid

Kind = Callable[[Any], bool]


def is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_finite(value: Any) -> bool:
    return is_int(value) or (isinstance(value, float) and math.isfinite(value))


def count(value: Any) -> bool:
    return is_int(value) and value >= 1


def whole(value: Any) -> bool:
    return is_int(value)


def non_negative(value: Any) -> bool:
    return is_int(value) and value >= 0


def positive_number(value: Any) -> bool:
    return is_finite(value) and value >= 0


def flag(value: Any) -> bool:
    return isinstance(value, bool)


def text(value: Any) -> bool:
    return isinstance(value, str)


def nothing(value: Any) -> bool:
    """One of several words, a table, a model or a run: none of VALUES."""
    return False


def empty_list(value: Any) -> bool:
    return isinstance(value, list) and not value


def references(value: Any) -> bool:
    """References to runs; one that means no run is an error too, which names it instead of the argument."""
    return isinstance(value, str) or empty_list(value)


def ids(value: Any) -> bool:
    """An id, or several; an unknown id is an error too, which names it instead of the argument."""
    return is_int(value) or isinstance(value, bool | str | list | dict)


def share(value: Any) -> bool:
    return is_int(value) and value in (0, 1)


def score(value: Any) -> bool:
    return is_int(value) or isinstance(value, float)


def optional(kind: Kind) -> Kind:
    return lambda value: value is None or kind(value)


# ---- the public functions


@dataclass
class Call:
    """A public function with valid arguments.

    Attributes:
        function: Called with all arguments by name, of which one is replaced at a time.
        arguments: Valid values.
        kinds: Which of VALUES each argument accepts.
        signature_of: The function whose signature has these arguments, if it is another one.
        left_out: Parameters that are tested elsewhere.
        tries_valid: Whether the valid ones of VALUES are tried too; False where this would take long.
    """

    function: Callable[..., Any]
    arguments: dict[str, Any]
    kinds: dict[str, Kind]
    signature_of: Callable[..., Any] | None = None
    left_out: tuple[str, ...] = ()
    tries_valid: bool = True


@dataclass
class World:
    """What the functions work on.

    Attributes:
        folder: An empty folder.
        models: Fitted models by name.
        run: A complete run.
        loaded: Its config.
    """

    folder: Path
    models: dict[str, Recommender] = field(default_factory=dict)
    run: Any = None
    loaded: Any = None


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    before = Path.cwd()
    world = World(tmp_path_factory.mktemp("public"))
    os.chdir(world.folder)
    world.models = {"ease": make_model("ease").fit(TABLE), "svd": make_model("svd", n_epochs=2).fit(TABLE)}
    Path("config.yaml").write_text(CONFIG)
    TABLE.to_csv("table.csv", index=False)
    world.loaded = experiment.load("config.yaml")
    export_model(world.models["ease"], "recommendations", "verified")
    world.run = experiment.train(world.loaded, RunStore("runs"))
    yield world
    os.chdir(before)


def calls_of_models(world: World) -> Iterator[tuple[str, Call]]:
    ranking = {"k": 2, "exclude_seen": True, "on_unknown": "error"}
    ranking_kinds = {"k": count, "exclude_seen": flag, "on_unknown": nothing}
    for name, model in world.models.items():
        model.save("model.pkl")
        yield (
            f"{name}.recommend",
            Call(model.recommend, {"user_ids": [1]} | ranking, {"user_ids": ids} | ranking_kinds),
        )
        yield (
            f"{name}.recommend_for_history",
            Call(
                model.recommend_for_history,
                {"histories": [[1, 2]]} | ranking,
                {"histories": lambda value: isinstance(value, list | dict) and value != [None]} | ranking_kinds,
            ),
        )
        yield (
            f"{name}.predict",
            Call(
                model.predict,
                {"user_ids": [1], "item_ids": [2], "on_unknown": "error"},
                {"user_ids": ids, "item_ids": ids, "on_unknown": nothing},
            ),
        )
        yield (
            f"{name}.similar_items",
            Call(model.similar_items, {"item_ids": [1], "k": 2}, {"item_ids": ids, "k": count}),
        )
        yield (
            f"{name}.save",
            Call(
                model.save,
                {"path": "saved.pkl", "training_state": False},
                {"path": text, "training_state": flag},
            ),
        )
        yield (
            f"{name}.load",
            Call(model.clone().load, {"path": "model.pkl"}, {"path": text}, tries_valid=False),
        )
        yield (
            f"{name}.fit",
            Call(
                model.clone().fit,
                {"interactions": TABLE, "validation": None, "callbacks": [], "warm_start": None},
                {
                    "interactions": nothing,
                    "validation": lambda value: value is None,
                    "callbacks": empty_list,
                    "warm_start": lambda value: value is None,
                },
            ),
        )
    svd = world.models["svd"]
    yield (
        "svd.partial_fit",
        Call(
            lambda **given: svd.clone().fit(TABLE).partial_fit(**given),
            {"interactions": TABLE, "n_epochs": 1},
            {"interactions": nothing, "n_epochs": optional(count)},
            signature_of=svd.partial_fit,
        ),
    )
    yield "svd.train_epoch", Call(svd.clone().train_epoch, {"interactions": TABLE}, {"interactions": nothing})
    yield "make_model", Call(make_model, {"name": "ease"}, {"name": text}, left_out=("hyperparameters",))
    yield (
        "load_model",
        Call(load_model, {"path": "model.pkl", "sha256": None}, {"path": text, "sha256": optional(text)}),
    )


def calls_of_evaluation(world: World) -> Iterator[tuple[str, Call]]:
    yield (
        "Evaluator",
        Call(
            Evaluator,
            {
                "metrics": ["ndcg"],
                "k_values": [3],
                "n_candidates": None,
                "relevance_threshold": None,
                "on_unknown": "skip",
                "gain": None,
                "exclude": "known",
                "seed": 1,
            },
            {
                "metrics": nothing,
                "k_values": nothing,
                "n_candidates": optional(count),
                "relevance_threshold": optional(is_finite),
                "on_unknown": nothing,
                "gain": optional(nothing),
                "exclude": nothing,
                "seed": non_negative,
            },
        ),
    )
    data_kinds = {"test": nothing, "train_data": optional(nothing), "known": optional(nothing)}
    data = {"test": HELD_OUT, "train_data": None, "known": None}
    for task, model in (("ranking", "ease"), ("rating_prediction", "svd")):
        arguments = {"model": world.models[model], "task": task} | data
        kinds = {"model": nothing, "task": nothing} | data_kinds
        evaluator = Evaluator()
        yield f"evaluate {task}", Call(evaluator.evaluate, arguments, kinds)
        yield (
            f"evaluate_users {task}",
            Call(
                evaluator.evaluate_users,
                arguments | {"excluded": [], "segments": []},
                kinds | {"excluded": empty_list, "segments": empty_list},
            ),
        )
    yield (
        "print_results",
        Call(
            Evaluator().print_results,
            {"results": {"ndcg@10": 0.5}},
            {"results": lambda value: isinstance(value, dict)},
        ),
    )


def calls_of_data(world: World) -> Iterator[tuple[str, Call]]:
    dataset = InteractionDataset(TABLE, implicit=False)
    yield (
        "InteractionDataset",
        Call(
            InteractionDataset,
            {"df": TABLE, "implicit": True, "min_user_interactions": 0, "min_item_interactions": 0},
            {
                "df": nothing,
                "implicit": flag,
                "min_user_interactions": whole,
                "min_item_interactions": whole,
            },
        ),
    )
    sizes = {"test_size": 0.2, "val_size": 0.0, "seed": 1}
    size_kinds = {"test_size": optional(count), "val_size": non_negative, "strategy": nothing, "seed": non_negative}
    options: dict[str, tuple[dict[str, Any], dict[str, Kind]]] = {
        "random": ({"within_user": False}, {"within_user": flag}),
        "temporal": ({}, {}),
        "leave_last": ({"n": 1}, {"n": count}),
        "user": ({"fold_in": 0.5}, {"fold_in": nothing}),
        "k_fold": ({"n_folds": 3, "fold": 0}, {"n_folds": count, "fold": non_negative}),
        "predefined": ({"labels": ["train"] * 50 + ["test"] * 22}, {"labels": nothing}),
    }
    for strategy, (values, kinds) in options.items():
        yield (
            f"split {strategy}",
            Call(
                dataset.split,
                sizes | {"strategy": strategy} | values,
                size_kinds | kinds,
                left_out=("options",),
            ),
        )
    yield (
        "k_fold",
        Call(dataset.k_fold, {"n_folds": 3, "seed": 1}, {"n_folds": count, "seed": non_negative}),
    )
    yield "load_movielens", Call(load_movielens, {"size": "100k"}, {"size": nothing}, tries_valid=False)
    yield (
        "read_source",
        Call(
            sources.read_source,
            {"source": "table.csv", "options": None, "base": None},
            {"source": text, "options": optional(nothing), "base": optional(text)},
        ),
    )
    shares = dict.fromkeys(("taste", "sequence", "drift"), share)
    yield (
        "synthetic.generate",
        Call(
            synthetic.generate,
            {"n_users": 5, "n_items": 8, "n_interactions": 10, "seed": 1, "popularity": 1.1, "activity": 1.0}
            | {"n_clusters": 2, "taste": 0.5, "sequence": 0.0, "drift": 0.0, "days": 3},
            {"n_users": count, "n_items": count, "n_interactions": count, "seed": non_negative}
            | {"popularity": positive_number, "activity": positive_number, "n_clusters": count}
            | {"days": is_finite}
            | shares,
        ),
    )
    yield (
        "filter_by_interaction_count",
        Call(
            preprocessing.filter_by_interaction_count,
            {"df": TABLE, "min_user_interactions": 1, "min_item_interactions": 1},
            {"df": nothing, "min_user_interactions": whole, "min_item_interactions": whole},
        ),
    )
    yield (
        "binarize_implicit_feedback",
        Call(
            preprocessing.binarize_implicit_feedback,
            {"df": TABLE, "threshold": 3.0},
            {"df": nothing, "threshold": is_finite},
        ),
    )


def calls_of_callbacks(world: World) -> Iterator[tuple[str, Call]]:
    svd = world.models["svd"]

    def stopped(**given: Any) -> None:
        stopping = EarlyStopping(mode="max")
        stopping(1.0, svd)
        stopping.restore(**given)

    def checkpointed(**given: Any) -> None:
        checkpoint = ModelCheckpoint("best.pkl")
        checkpoint(svd, {"rmse": 1.0})
        checkpoint.restore(**given)

    monitored = {"monitor": "rmse", "mode": "min", "min_delta": 0.0}
    monitored_kinds = {"monitor": optional(text), "mode": nothing, "min_delta": positive_number}
    yield (
        "EarlyStopping",
        Call(
            EarlyStopping,
            {"patience": 1, "restore_best": True} | monitored,
            {"patience": count, "restore_best": flag} | monitored_kinds,
        ),
    )
    yield (
        "EarlyStopping.__call__",
        Call(
            EarlyStopping(mode="max"),
            {"score": 1.0, "model": svd},
            {"score": score, "model": optional(nothing)},
        ),
    )
    yield (
        "EarlyStopping.restore",
        Call(stopped, {"model": svd}, {"model": nothing}, signature_of=EarlyStopping.restore, left_out=("self",)),
    )
    yield (
        "ModelCheckpoint",
        Call(ModelCheckpoint, {"filepath": "best.pkl"} | monitored, {"filepath": text} | monitored_kinds),
    )
    yield (
        "ModelCheckpoint.__call__",
        Call(
            ModelCheckpoint("best.pkl", "rmse"),
            {"model": svd, "metrics": {"rmse": 1.0}},
            {"model": nothing, "metrics": nothing},
        ),
    )
    yield (
        "ModelCheckpoint.restore",
        Call(
            checkpointed,
            {"model": svd},
            {"model": nothing},
            signature_of=ModelCheckpoint.restore,
            left_out=("self",),
        ),
    )
    yield "StopAfter", Call(StopAfter, {"n_epochs": 1}, {"n_epochs": count})
    yield "TensorBoardLogger", Call(TensorBoardLogger, {"folder": "logs"}, {"folder": text})
    yield (
        "MLflowLogger",
        Call(MLflowLogger, {"uri": None, "experiment": "x"}, {"uri": optional(text), "experiment": text}),
    )


def calls_of_runs(world: World) -> Iterator[tuple[str, Call]]:
    run = world.run
    store = RunStore("runs")
    overrides_kind = {"overrides": empty_list}
    yield (
        "experiment.load",
        Call(experiment.load, {"path": "config.yaml", "overrides": []}, {"path": text} | overrides_kind),
    )
    stored = {"loaded": nothing, "store": optional(nothing)}
    for function, others in (
        (experiment.train, {"test_since": optional(nothing)}),
        (experiment.split, {"export": optional(text)}),
        (experiment.fit, {"parent": optional(nothing)}),
        (experiment.fit_all_data, {"parent": optional(nothing)}),
        (tuning.tune, {"storage": optional(text), "study": optional(text)}),
    ):
        kinds = stored | others
        arguments = {"loaded": world.loaded, "store": store} | dict.fromkeys(others)
        yield function.__name__, Call(function, arguments, kinds, tries_valid=False)
    measured = {"on": "test", "data": None, "metrics": ["ndcg"], "k_values": [3], "overrides": []}
    measured_kinds = {
        "run": nothing,
        "on": optional(nothing),
        "data": optional(text),
        "metrics": optional(empty_list),
        "k_values": optional(empty_list),
        "overrides": empty_list,
    }
    for function in (experiment.evaluate, experiment.measure):
        yield function.__name__, Call(function, {"run": run} | measured, measured_kinds, tries_valid=False)
    yield (
        "resume",
        Call(experiment.resume, {"run": run, "overrides": []}, {"run": nothing} | overrides_kind, tries_valid=False),
    )
    yield (
        "load_version",
        Call(experiment.load_version, {"run": run, "version": 1}, {"run": nothing, "version": optional(count)}),
    )
    yield (
        "compare",
        Call(
            recctl.compare,
            {"sources": [run, run], "store": store, "options": None, "repeats": None, "overrides": []},
            {"sources": empty_list, "store": optional(nothing), "options": optional(nothing)}
            | {"repeats": optional(nothing)}
            | overrides_kind,
            left_out=("terms",),
            tries_valid=False,
        ),
    )
    yield (
        "ComparisonOptions",
        Call(
            ComparisonOptions,
            {"on": "test", "metric": None, "reference": None, "confidence": 0.9, "test": "wilcoxon"}
            | {"n_resamples": 100, "seed": 1},
            {"on": optional(nothing), "metric": optional(text), "reference": optional(text), "confidence": nothing}
            | {"test": nothing, "n_resamples": count, "seed": non_negative},
        ),
    )
    yield (
        "Repeats",
        Call(
            Repeats,
            {"seeds": (1, 2), "n_folds": 3, "refit": False},
            {"seeds": empty_list, "n_folds": optional(nothing), "refit": flag},
        ),
    )
    yield "RunStore", Call(RunStore, {"root": "runs"}, {"root": optional(text)})
    for method in (store.resolve, store.resolve_model):
        yield method.__name__, Call(method, {"reference": run.id}, {"reference": text})
    yield (
        "promote",
        Call(store.promote, {"run": run, "name": "best-run"}, {"run": nothing, "name": text}, tries_valid=False),
    )
    yield "remove", Call(store.remove, {"run": run}, {"run": nothing}, tries_valid=False)
    yield "Run.open", Call(Run.open, {"path": run.path}, {"path": text})
    yield "per_user", Call(run.per_user, {"part": "test"}, {"part": text})
    yield "evaluation", Call(run.evaluation, {"label": "test"}, {"label": text})
    yield "model_entry", Call(run.model_entry, {"version": 1}, {"version": optional(count)})
    yield (
        "write_report",
        Call(
            write_report,
            {"runs": [run], "path": "report.md", "form": "md", "metric": "ndcg@10", "overrides": [], "force": True},
            {"runs": references, "path": optional(text), "form": nothing, "metric": optional(text), "force": flag}
            | overrides_kind,
            tries_valid=False,
        ),
    )


def calls_of_exports(world: World) -> Iterator[tuple[str, Call]]:
    def of_model(model: Any, format_name: Any, path: Any, **options: Any) -> Any:
        return export_model(model, format_name, path, **options)

    def of_run(run: Any, format_name: Any, path: Any, **options: Any) -> Any:
        return export_run(run, format_name, path, **options)

    target = {"format_name": "recommendations", "path": "export", "force": True}
    target_kinds = {"format_name": text, "path": text, "force": flag}
    yield (
        "export_model",
        Call(
            of_model,
            {"model": world.models["ease"]} | target | {"k": 3, "on_unknown": "skip", "file_format": "csv"},
            {"model": nothing}
            | target_kinds
            | {"k": lambda value: count(value) or value == "3", "on_unknown": nothing, "file_format": nothing},
            signature_of=export_model,
            left_out=("options",),
            tries_valid=False,
        ),
    )
    yield (
        "export_run",
        Call(
            of_run,
            {"run": world.run, "version": 1, "overrides": []} | target,
            {"run": nothing, "version": optional(count), "overrides": empty_list}
            | target_kinds
            | {"path": optional(text)},
            signature_of=export_run,
            left_out=("options",),
            tries_valid=False,
        ),
    )
    yield "verify_export", Call(verify_export, {"path": "verified"}, {"path": text})


GROUPS = {
    "models": calls_of_models,
    "evaluation": calls_of_evaluation,
    "data": calls_of_data,
    "callbacks": calls_of_callbacks,
    "runs": calls_of_runs,
    "exports": calls_of_exports,
}


def outcome(call: Call, argument: str, value: Any) -> str:
    """What a call with one other value comes to: "accepted", "refused by name", or what is wrong."""
    try:
        result = call.function(**(call.arguments | {argument: value}))
        if inspect.isgenerator(result):
            list(result)
    except RecctlError as error:
        return "refused by name" if re.search(rf"\b{argument}\b", str(error)) else f"refused: {error}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "accepted"


@pytest.mark.parametrize("group", GROUPS)
def test_wrong_arguments_are_refused_by_name(world: World, group: str) -> None:
    wrong = []
    n_refused = 0
    for title, call in GROUPS[group](world):
        for argument, is_valid in call.kinds.items():
            for value in VALUES:
                if is_valid(value):
                    if not call.tries_valid:
                        continue
                    # A file that does not exist, an unknown id, too few data: an error of recctl, or a result.
                    found = outcome(call, argument, value)
                    if found != "accepted" and not found.startswith("refused"):
                        wrong.append(f"{title}: {argument}={value!r}: {found}")
                    continue
                found = outcome(call, argument, value)
                n_refused += found == "refused by name"
                if found != "refused by name":
                    wrong.append(f"{title}: {argument}={value!r}: {found}")
    assert not wrong, "\n".join(wrong)
    assert n_refused > 50


@pytest.mark.parametrize("group", GROUPS)
def test_all_arguments_are_tried(world: World, group: str) -> None:
    for title, call in GROUPS[group](world):
        parameters = inspect.signature(call.signature_of or call.function).parameters
        untested = set(parameters) - set(call.kinds) - set(call.left_out)
        assert not untested, f"{title}: {untested}"
        assert set(call.kinds) == set(call.arguments), title


def test_all_public_functions_are_tried(world: World) -> None:
    titles = {title.partition(".")[0] for group in GROUPS.values() for title, _ in group(world)}
    titles |= {title.partition(" ")[0] for group in GROUPS.values() for title, _ in group(world)}
    names = {name for name in recctl.__all__ if not name.startswith("__") and not name.endswith("Recommender")}
    # Config is checked by its schema, an error is raised by recctl, and model_names has no arguments.
    assert names - titles <= {"Config", "RecctlError", "model_names", "Run"}
    methods = {
        name
        for model_type in type(world.models["svd"]).__mro__
        for name, method in vars(model_type).items()
        if not name.startswith("_") and inspect.isfunction(method) and len(inspect.signature(method).parameters) > 1
    }
    tried = {title.partition(".")[2] for title, _ in calls_of_models(world)}
    assert "load" in tried  # no plain function, because it can be called on the class
    assert methods - tried <= NOT_FOR_USERS


# Methods of models that take codes and arrays, sizes, or what a method of the same model returned.
NOT_FOR_USERS = {
    *("score_users", "score_histories", "score_pairs", "rank_users", "rank_histories", "rank_popular"),
    *("ties_of_users", "ties_of_histories", "probe_fit", "require_memory_for"),
    *("recommended_lists", "recommended_lists_for_history", "similar_lists"),  # of arguments that others have checked
    *("estimate_memory", "estimate_file", "estimate_checkpoints", "restore", "set_training_state"),
}
