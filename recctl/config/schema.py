"""What a config may say. Each field is declared here once: type, default, meaning."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from recctl import plugins
from recctl.suggest import did_you_mean

Fraction = Annotated[float, Field(gt=0, lt=1)]
Size = Annotated[int, Field(ge=1, strict=True)] | Fraction


class Section(BaseModel):
    """A part of a config. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", validate_default=True, use_attribute_docstrings=True)


class SyntheticConfig(Section):
    """The size of generated data."""

    n_users: int = Field(1000, ge=2)
    """Users."""
    n_items: int = Field(500, ge=2)
    """Items."""
    n_interactions: int = Field(50_000, ge=1)
    """Interactions."""
    seed: int | None = Field(None, ge=0)
    """Seed of the data; the experiment's own when null."""


class DataConfig(Section):
    """Which interactions, and how they are prepared."""

    source: str = Field("movielens-100k", min_length=1)
    """A name of `recctl data list`, `synthetic`, or a path (from this file's folder) to CSV, TSV, Parquet, ..."""
    format: Literal["auto", "csv", "tsv", "parquet", "inter", "lightgcn", "sequences"] = "auto"
    """The file's format; auto goes by name and content."""
    columns: dict[Literal["user_id", "item_id", "rating", "timestamp"], str | int] = {}
    """Which column is which, e.g. {user_id: userId}; by position from 0 where there is no header."""
    delimiter: str | None = None
    """What separates fields; found out when null."""
    header: bool | None = None
    """Whether the first line names the columns; found out when null."""
    timestamp_unit: Literal["s", "ms", "us", "ns"] = "s"
    """The unit of timestamps that are numbers."""
    id_type: Literal["auto", "int", "text"] = "auto"
    """Whether ids are whole numbers or text."""
    bad_rows: Literal["error", "skip"] = "error"
    """What to do with a row that can't be read: stop, or leave it out and count it."""
    synthetic: SyntheticConfig = SyntheticConfig()
    """The size of the data of source: synthetic."""
    preprocess: list[dict[str, dict[str, Any] | None]] = []
    """Steps in order, each `name: {parameter: value}`; `recctl config steps` lists them."""
    implicit: bool = True
    """Whether an interaction only says that it happened; false: models that can, learn from ratings; unless given, it
    is false for models that learn from nothing else."""
    min_user_interactions: int = Field(0, ge=0)
    """Leave out users with fewer interactions (applied with the next until neither removes a row)."""
    min_item_interactions: int = Field(0, ge=0)
    """Leave out items with fewer interactions."""

    @field_validator("preprocess")
    @classmethod
    def _one_name_each(cls, steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for step in steps:
            if len(step) != 1:
                raise ValueError("each step is one name with its parameters, as in `- sample_interactions: {n: 1000}`")
        return steps


class RandomSplit(Section):
    """Interactions drawn at random."""

    strategy: Literal["random"] = "random"
    """random, temporal, leave_last, user, k_fold, or predefined."""
    test_size: Size = 0.2
    """The test part: a fraction or a number of interactions."""
    val_size: Size | Literal[0] = 0
    """The validation part, of all interactions as test_size is; 0 for none."""
    within_user: bool = False
    """Draw the fractions within each user, not over all interactions."""


class TemporalSplit(Section):
    """One moment for all: test is what came after it."""

    strategy: Literal["temporal"]
    """One moment for all users: train lies before it, test after it."""
    test_size: Size = 0.2
    """The test part: a fraction or a number of interactions."""
    val_size: Size | Literal[0] = 0
    """The validation part, just before test; 0 for none."""


class LeaveLastSplit(Section):
    """Each user's last interactions."""

    strategy: Literal["leave_last"]
    """Each user's last n interactions are test, the n before them validation."""
    n: int = Field(1, ge=1)
    """How many interactions of each user."""
    val_size: Size | Literal[0] = 0
    """Anything but 0 makes a validation part, of n interactions a user too."""


class UserSplit(Section):
    """People the model never saw."""

    strategy: Literal["user"]
    """Whole users are held out; the first part of their history is folded in, the rest is relevant."""
    test_size: Size = 0.2
    """The test part: a fraction or a number of users."""
    val_size: Size | Literal[0] = 0
    """The validation part: a fraction or a number of users; 0 for none."""
    fold_in: Fraction = 0.8
    """Which part of a held-out user's interactions, the earliest, the model may see."""


class KFoldSplit(Section):
    """One fold of k."""

    strategy: Literal["k_fold"]
    """Interactions in n_folds equal parts drawn at random; one of them is test."""
    n_folds: int = Field(5, ge=2)
    """How many parts."""
    fold: int = Field(0, ge=0)
    """Which one is test, from 0."""
    val_size: Size | Literal[0] = 0
    """The validation part, drawn from the other folds; 0 for none."""


class PredefinedSplit(Section):
    """Parts that come as files."""

    strategy: Literal["predefined"]
    """data.source is train; test, and validation if given, are files of the same format."""
    test: str = Field(min_length=1)
    """The file of the test part (a path from this file's folder)."""
    validation: str | None = None
    """The file of the validation part; null for none."""
    val_size: Size | Literal[0] = 0
    """Without a validation file: this part of train, drawn at random; 0 for none."""


SplitConfig = Annotated[
    RandomSplit | TemporalSplit | LeaveLastSplit | UserSplit | KFoldSplit | PredefinedSplit,
    Field(discriminator="strategy"),
]


class ModelConfig(Section):
    """Which model, with which hyperparameters."""

    name: str = "ease"
    """A name of `recctl models`."""
    params: dict[str, Any] = {}
    """Its hyperparameters; `recctl models NAME` lists them."""


class EarlyStoppingConfig(Section):
    """When training ends before its last epoch; the model is then what it was in its best one."""

    monitor: str | None = Field(None, min_length=1)
    """What is watched on validation, as `ndcg@10`, or `loss`; null: rmse for models of ratings, else ndcg@10."""
    patience: int = Field(5, ge=1, strict=True)
    """How many measurements in a row may be no better."""
    min_delta: float = Field(0.0001, ge=0, allow_inf_nan=False)
    """An epoch is better if it beats the best one by more than this."""


class TrainingConfig(Section):
    """What a model's hyperparameters don't say of how it is trained."""

    early_stopping: EarlyStoppingConfig | None = None
    """When to stop before the last epoch; null: never."""
    validate_every: int = Field(1, ge=1, strict=True)
    """After how many epochs validation is measured; patience counts these."""
    checkpoint_every: int = Field(1, ge=0, strict=True)
    """After how many epochs all it takes to go on is written, so that `--resume` loses no more; 0 for never."""
    refit: bool = False
    """Before test is read, fit anew on train and validation, for as many epochs as validation chose."""


class EvaluationConfig(Section):
    """What is measured on validation and test."""

    metrics: list[str] = Field(["precision", "recall", "ndcg", "hit_rate"], min_length=1)
    """Names of `recctl config metrics`."""
    k_values: list[Annotated[int, Field(ge=1, strict=True)]] = Field([5, 10, 20], min_length=1)
    """Lengths of the lists that are judged."""
    monitor: str | None = None
    """The metric a run is chosen by, as `ndcg@10`; null: the first that is measured of ndcg@10, ndcg, rmse, any."""
    relevance_threshold: float | None = None
    """Only test interactions rated at least this are relevant; null: all are."""
    n_candidates: int | None = Field(None, ge=1)
    """Rank the relevant items among this many drawn ones (as some old papers do) instead of among all; null: all."""
    on_unknown: Literal["skip", "zero"] = "skip"
    """Test users that train never saw: leave out and count, or count with a score of 0."""


def search_strategies() -> list[str]:
    """Names of the search strategies: built-in ones, then those of plug-ins."""
    own = ("manual", "grid", "random", "bayesian", "coarse_to_fine")
    return list(dict.fromkeys([*own, *plugins.available("strategies")]))


class TuningConfig(Section):
    """How hyperparameters are searched."""

    strategy: str = Field("bayesian", json_schema_extra=lambda schema: schema.update(enum=[*search_strategies()]))
    """manual: points given by hand; grid: every combination; random; bayesian: those a model of past trials proposes;
    coarse_to_fine: rounds that zoom in on the best; or one that an installed package offers."""
    sampler: Literal["tpe", "gp", "cmaes"] = "tpe"
    """What proposes the trials of a bayesian search: Parzen estimators, a Gaussian process, or CMA-ES."""
    n_trials: int | None = Field(None, ge=1)
    """How many trials; null: all points of manual and grid, else 50."""
    minutes: float | None = Field(None, gt=0)
    """No trial begins after so many minutes."""
    no_gain: int | None = Field(None, ge=1)
    """Stop when so many trials in a row were no better than the best before them."""
    monitor: str | list[str] | None = None
    """The metric of validation that is sought, as `ndcg@10`; several give the Pareto set; null: evaluation.monitor."""
    space: dict[str, Any] = {}
    """What is searched: for each hyperparameter (or path, as data.min_item_interactions) a list of choices, or
    `{low, high, log: true, when: {other: value}}`; empty: the model's own ranges."""
    points: list[dict[str, Any]] = []
    """The points of a manual search, each `{parameter: value}`."""
    grid_size: int = Field(5, ge=2)
    """How many values a grid takes of a range that is no list of choices."""
    n_rounds: int = Field(3, ge=2)
    """The rounds of coarse_to_fine; each looks at a third of the range of the one before, around the best."""
    pruner: Literal["none", "median", "hyperband"] = "median"
    """What ends trials of models trained in epochs that do badly."""
    jobs: int | None = Field(None, ge=1)
    """How many trials run at once, each in a process of its own with its share of the threads; null: 1, or as many as
    a cluster holds."""

    @field_validator("strategy")
    @classmethod
    def _known(cls, strategy: str) -> str:
        if strategy not in search_strategies():
            raise ValueError(f"unknown strategy {strategy!r}{did_you_mean(strategy, search_strategies())}")
        return strategy


class EngineConfig(Section):
    """Where work that can be divided runs."""

    name: Literal["local", "ray"] = "local"
    """This machine, or a Ray cluster."""
    address: str | None = None
    """The cluster's address, as `ray.init` takes it; null: one is started on this machine."""
    cpus_per_task: float = Field(1.0, gt=0)
    """Processors that a task asks for, and threads that it computes on."""
    gpus_per_task: float = Field(0.0, ge=0)
    """GPUs that a task asks for."""


class MLflowConfig(Section):
    """Which MLflow is told of a run."""

    uri: str | None = Field(None, min_length=1)
    """A server or a database, as `http://host:5000`, `sqlite:///mlflow.db`; null: $MLFLOW_TRACKING_URI, else MLflow's
    own choice."""
    experiment: str = Field("recctl", min_length=1)
    """The experiment that runs are added to; made if there is none."""

    @field_validator("uri")
    @classmethod
    def _no_password(cls, uri: str | None) -> str | None:
        if uri and re.search(r"://[^/@]*:[^/@]*@", uri):
            raise ValueError(
                "every run would record this password; set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or "
                "the whole MLFLOW_TRACKING_URI, in the environment"
            )
        return uri


class TrackingConfig(Section):
    """Which other programs are told of a run while it goes on; it never fails for their sake."""

    mlflow: MLflowConfig | None = None
    """An MLflow server or database; null: none."""
    tensorboard: bool | str = False
    """Event files for TensorBoard: true for a folder in the run, or a folder that gets one for each run."""


class ComparedModel(ModelConfig):
    """One of several models that are compared."""

    label: str | None = Field(None, min_length=1)
    """What the table calls it; null: its name, with its params where several have that."""
    training: TrainingConfig | None = None
    """How it is trained; null: as the config's own training says."""


class Config(Section):
    """A whole experiment."""

    seed: int = Field(42, ge=0, strict=True)
    """All randomness follows from it."""
    data: DataConfig = DataConfig()
    """Which interactions, and how they are prepared."""
    split: SplitConfig = RandomSplit()
    """How train, validation and test are made."""
    model: ModelConfig = ModelConfig()
    """Which model, with which hyperparameters."""
    training: TrainingConfig = TrainingConfig()
    """How the model is trained."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """What is measured."""
    tuning: TuningConfig | None = None
    """How hyperparameters are searched, by `recctl tune`."""
    engine: EngineConfig | None = None
    """Where work that can be divided runs; null: on this machine."""
    tracking: TrackingConfig | None = None
    """Which other programs are told of a run; null: none."""
    models: list[ComparedModel] = []
    """What `recctl compare` fits and compares, instead of `model`: a list of {name, params}."""

    @property
    def has_validation(self) -> bool:
        """Whether there is a validation part."""
        return bool(self.split.val_size or getattr(self.split, "validation", None))

    @model_validator(mode="before")
    @classmethod
    def _random_unless_said(cls, values: Any) -> Any:
        split = values.get("split") if isinstance(values, dict) else None
        if isinstance(split, dict) and "strategy" not in split:
            return {**values, "split": {"strategy": "random", **split}}
        return values
