"""The sections of a config. Each field is declared once, with its type, default and, below it, its description."""

from __future__ import annotations

import codecs
import re
from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WithJsonSchema,
    WrapValidator,
    field_validator,
    model_validator,
)
from pydantic.config import JsonDict

from recctl import plugins, urls
from recctl.config.messages import percentage_hint
from recctl.config.segments import parse_segment
from recctl.suggest import did_you_mean

Fraction = Annotated[float, Field(gt=0, lt=1)]
_Count = Annotated[int, Field(ge=1, strict=True)]


def _check_size(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Validate the size of a part; one sentence for a value that is none, instead of one for each of its types."""
    try:
        return validate(value)
    except ValidationError:
        message = f"{value!r} should be a fraction between 0 and 1, such as 0.2, or a whole number of at least 1"
        hint = percentage_hint(value)
        if isinstance(value, float) and value > 1 and value.is_integer():
            hint = f"; write {value:.0f}"
        raise ValueError(message + hint) from None


Size = Annotated[_Count | Fraction, WrapValidator(_check_size)]
# The size of a part that a split may lack.
OptionalSize = Annotated[_Count | Fraction | Literal[0], WrapValidator(_check_size)]


# The size of a part that may be given by dates instead.
DatableSize = Annotated[_Count | Fraction | None, WrapValidator(_check_size)]


def _check_days(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Validate a number of days; one sentence for a value that is none."""
    try:
        return validate(value)
    except ValidationError:
        raise ValueError(f"{value!r} should be a whole number of days, at least 1") from None


OptionalDays = Annotated[Annotated[int, Field(ge=1, strict=True)] | None, WrapValidator(_check_days)]
# A date or moment as text, or seconds since 1970; `recctl.experiment.config_checks` parses it.
OptionalMoment = str | int | float | None


def _check_one_name(step: dict[str, Any]) -> dict[str, Any]:
    if len(step) != 1:
        raise ValueError("each step must be one name with parameters, e.g. `- sample_interactions: {n: 1000}`")
    return step


Step = Annotated[dict[str, dict[str, Any] | None], AfterValidator(_check_one_name)]


class Section(BaseModel):
    """Base class of the sections of a config; rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", validate_default=True)


class SyntheticConfig(Section):
    """Size of the generated dataset."""

    n_users: int = Field(1000, ge=2)
    """Number of users."""
    n_items: int = Field(500, ge=2)
    """Number of items."""
    n_interactions: int = Field(50_000, ge=1)
    """Number of interactions."""
    seed: int | None = Field(None, ge=0)
    """Seed of the generator; null: the seed of the experiment."""


def _check_encoding(encoding: str | None) -> str | None:
    try:
        if encoding is not None:
            codecs.lookup(encoding)
    except LookupError:
        raise ValueError("unknown encoding; use e.g. utf-8, latin-1, cp1252 or utf-16") from None
    return encoding


class TableConfig(Section):
    """A table of users or items."""

    file: str = Field(min_length=1)
    """Path to CSV, TSV, JSON lines, Parquet or Arrow, relative to this file; a folder or a pattern is read as one
    table."""
    format: Literal["auto", "csv", "tsv", "parquet", "arrow", "json_lines"] = "auto"
    """File format; auto detects it from name and content."""
    delimiter: str | None = None
    """Field separator; null: detected."""
    quoting: bool = True
    """Whether fields may be quoted by `"`; false: quotes are ordinary characters."""
    encoding: str | None = None
    """Encoding of a text file; null: that of data.encoding."""
    header: bool | None = None
    """Whether the first line has the column names; null: detected."""
    skip_lines: int = Field(0, ge=0)
    """Number of lines to skip at the beginning of a text file."""
    comment: str | None = Field(None, min_length=1)
    """Skip lines that begin with this; null: no comments."""
    bad_rows: Literal["error", "skip"] = "error"
    """How to treat malformed rows: stop with an error, or skip and count them."""

    _check_encoding = field_validator("encoding")(_check_encoding)


class ItemsConfig(TableConfig):
    """A table of the items: their titles, and columns for `evaluation.segments`."""

    id: str | int = "item_id"
    """Column of the item ids; without a header, its position from 0."""
    title: str | int | None = "title"
    """Column of the titles; null: the table has none."""

    @model_validator(mode="after")
    def _check_two_columns(self) -> ItemsConfig:
        if self.id == self.title:
            raise ValueError(f"id and title are the same column, {self.id!r}")
        return self


class UsersConfig(TableConfig):
    """A table of the users, with columns for `evaluation.segments`."""

    id: str | int = "user_id"
    """Column of the user ids; without a header, its position from 0."""


class QueryConfig(Section):
    """A query of a database."""

    sql: str = Field(min_length=1)
    """The query; it must have ORDER BY if it returns no timestamps. Anything but a query is refused."""
    url: str = Field(min_length=1)
    """The database: postgresql://..., sqlite:///FILE or duckdb:///FILE; variables such as "${DATABASE_URL}" are
    replaced from the environment and never stored."""


Source = Annotated[
    Annotated[str, Field(min_length=1), Tag("text")] | Annotated[QueryConfig, Tag("query")],
    Discriminator(lambda source: "query" if isinstance(source, dict | QueryConfig) else "text"),
]


def source_label(source: str | QueryConfig) -> str:
    """Return a source as messages and records show it: without the secrets of its URL."""
    if isinstance(source, QueryConfig):
        return f"query of {urls.redact(source.url)}"
    return urls.redact(source)


def source_name(source: str | QueryConfig) -> str:
    """Return the name of a source alone: the last part of its path or URL, or `query`."""
    if isinstance(source, QueryConfig):
        return "query"
    return urls.file_name(source) if urls.is_url(source) else PurePath(source).name


class DataConfig(Section):
    """The interactions and their preprocessing."""

    source: Source = "movielens-100k"
    """Dataset name from `recctl data list`, `synthetic`, path to CSV, TSV, JSON lines, Parquet, Arrow, ... relative to
    this file, URL (s3://, gs://, https://), or query {sql: "select ...", url: "${DATABASE_URL}"}. A folder, or a
    pattern such as `events/*.csv`, is read as the parts of one table. `${NAME}` in a URL is replaced from the
    environment."""
    checksum: str | None = Field(None, pattern="^(sha256|sha512|md5):[0-9a-f]+$")
    """Checksum of a source that is one file, e.g. sha256:9f86d0...; null: not checked."""
    max_download_gb: float = Field(50, gt=0)
    """Maximum size in GB of what is downloaded from URLs or fetched from a database."""
    format: Literal[
        "auto", "csv", "tsv", "parquet", "arrow", "json_lines", "inter", "lightgcn", "sequences", "netflix"
    ] = "auto"
    """File format; auto detects it from name and content."""
    columns: dict[Literal["user_id", "item_id", "rating", "timestamp"], str | int | None] = {}
    """Names of the columns, e.g. {user_id: userId}; without a header, their positions from 0. `rating: null` and
    `timestamp: null` leave the column out."""
    delimiter: str | None = None
    """Field separator; `whitespace`: runs of spaces and tabs; null: detected."""
    quoting: bool = True
    """Whether fields may be quoted by `"`; false: quotes are ordinary characters."""
    encoding: str = "utf-8"
    """Encoding of text files, e.g. latin-1."""
    decimal: Literal[".", ","] = "."
    """Decimal separator of ratings and timestamps."""
    header: bool | None = None
    """Whether the first line has the column names; null: detected."""
    skip_lines: int = Field(0, ge=0)
    """Number of lines to skip at the beginning of a text file."""
    comment: str | None = Field(None, min_length=1)
    """Skip lines that begin with this, e.g. "%"; null: no comments."""
    user: Literal["column", "line", "counted_line"] = "column"
    """Formats lightgcn and sequences: each line begins with its user; `line`: each line is a user and holds only items;
    `counted_line`: the same, and each line begins with the number of its items."""
    timestamp_unit: Literal["s", "ms", "us", "ns"] = "s"
    """Unit of numeric timestamps."""
    timestamp_format: str | None = Field(None, min_length=1)
    """Format of timestamps as in strptime, e.g. "%d.%m.%Y %H:%M"; null: numbers or ISO 8601."""
    id_type: Literal["auto", "int", "text"] = "auto"
    """Type of user and item ids; auto: int if every id is an integer without leading zeros, a plus sign or 0x, or such
    an integer followed by .0, else text."""
    bad_rows: Literal["error", "skip"] = "error"
    """How to treat malformed rows: stop with an error, or skip and count them."""
    synthetic: SyntheticConfig = SyntheticConfig()
    """Size of the dataset of source: synthetic."""
    preprocess: list[Step] = []
    """Preprocessing steps, in order, each `name: {parameter: value}`; `recctl config steps` lists them."""
    implicit: bool = True
    """Whether to ignore the values of ratings; false: models that support ratings or weights use them. Default: false
    for models that only learn from ratings and after the step weight_events, else true."""
    min_user_interactions: int = Field(0, ge=0)
    """Drop users with fewer interactions; repeated together with min_item_interactions until no row is dropped."""
    min_item_interactions: int = Field(0, ge=0)
    """Drop items with fewer interactions."""
    items: ItemsConfig | None = None
    """Titles of the items, e.g. {file: items.csv, id: sku, title: name}; null: those of the dataset, if it has any.
    Other columns serve `evaluation.segments`."""
    users: UsersConfig | None = None
    """Table of the users for `evaluation.segments`, e.g. {file: users.csv, id: customer}; null: none."""

    _check_encoding = field_validator("encoding")(_check_encoding)


class RandomSplit(Section):
    """Random split of the interactions."""

    strategy: Literal["random"] = "random"
    """Random interactions are held out. The other strategies follow."""
    test_size: Size = 0.2
    """Size of the test part: fraction or number of interactions."""
    val_size: OptionalSize = 0
    """Size of the validation part: fraction or number of interactions; 0: no validation part."""
    within_user: bool = False
    """Apply the fractions to each user's interactions instead of to all interactions."""


class TemporalSplit(Section):
    """Split of all interactions at one point in time."""

    strategy: Literal["temporal"]
    """One point in time for all users: train is before it, test after it. It is given by sizes, or by dates."""
    test_size: DatableSize = None
    """Size of the test part: fraction or number of interactions; null: 0.2, unless test_start or test_days is given."""
    val_size: OptionalSize = 0
    """Size of the validation part, which directly precedes test; 0: no validation part."""
    test_start: OptionalMoment = None
    """Test begins at this date (2026-10-01) or moment (2026-10-01T06:00+02:00); UTC without a time zone."""
    test_days: OptionalDays = None
    """Without test_start: test is the newest days, e.g. 7 for a week; the day of the newest interaction is one of them.
    With test_start: test has as many days, and what follows is not used; null: test is all that follows."""
    val_start: OptionalMoment = None
    """Validation begins at this date or moment, and ends where test, or the gap before it, begins."""
    val_days: OptionalDays = None
    """Validation is as many days before test, or before the gap; null: no validation part, unless val_start is
    given."""
    gap_days: int = Field(0, ge=0, strict=True)
    """Days before validation and before test that are in no part, as if the model were trained so long ago."""
    train_days: OptionalDays = None
    """Length of train; what is older is not used. Null: all of it."""

    @model_validator(mode="after")
    def _fill_test_size(self) -> TemporalSplit:
        # Dates without a test part are left for the checks of the config, which say what is missing.
        if self.test_start is None and self.test_days is None and self.test_size is None:
            self.test_size = 0.2
        return self


class RollingSplit(Section):
    """Windows of time, each with a split of its own: a backtest."""

    strategy: Literal["rolling"]
    """Several windows, each of which is split by dates. `recctl compare` and `recctl tune` use all of them,
    `recctl train` the newest."""
    n_windows: int = Field(6, ge=1, strict=True)
    """Number of windows. The newest one ends with the day of the newest interaction."""
    test_days: int = Field(7, ge=1, strict=True)
    """Days of test in each window."""
    step_days: OptionalDays = None
    """Days from one window to the next; null: test_days, so that each day is tested once."""
    val_days: OptionalDays = None
    """Days of validation before test in each window, on which models, epochs and hyperparameters are chosen; null: no
    validation part."""
    gap_days: int = Field(0, ge=0, strict=True)
    """Days before validation and before test that are in no part, as if the model were trained so long ago."""
    train_days: OptionalDays = None
    """Days of train in each window (sliding); null: all that is older (expanding)."""


class LeaveLastSplit(Section):
    """Leave-last-n-out split."""

    strategy: Literal["leave_last"]
    """Test is the last n interactions of each user, validation the n before."""
    n: int = Field(1, ge=1)
    """Number of interactions per user."""
    val_size: OptionalSize = 0
    """0: no validation part; any other value: n interactions per user."""


class UserSplit(Section):
    """Split of the users: the model is evaluated on users it was not fitted on."""

    strategy: Literal["user"]
    """Holds out whole users; the model sees the first part of their history (fold-in), the rest is relevant."""
    test_size: Size = 0.2
    """Size of the test part: fraction or number of users."""
    val_size: OptionalSize = 0
    """Size of the validation part: fraction or number of users; 0: no validation part."""
    fold_in: Fraction = 0.8
    """Fraction of a held-out user's interactions, the earliest ones, that the model sees."""


class KFoldSplit(Section):
    """One fold of a k-fold split."""

    strategy: Literal["k_fold"]
    """Random split of the interactions into n_folds equal folds; test is one of them."""
    n_folds: int = Field(5, ge=2)
    """Number of folds."""
    fold: int = Field(0, ge=0)
    """The test fold, from 0."""
    val_size: OptionalSize = 0
    """Size of the validation part, drawn from the other folds; 0: no validation part."""


class PredefinedSplit(Section):
    """Parts read from files."""

    strategy: Literal["predefined"]
    """Train is data.source; test and validation are files of the same format."""
    test: Source
    """File, URL or query of the test part; a file is relative to this one."""
    validation: Source | None = None
    """File, URL or query of the validation part; null: none."""
    val_size: OptionalSize = 0
    """Without a validation file: size of the validation part, drawn from train; 0: no validation part."""


SplitConfig = Annotated[
    RandomSplit | TemporalSplit | RollingSplit | LeaveLastSplit | UserSplit | KFoldSplit | PredefinedSplit,
    Field(discriminator="strategy"),
]


class ModelConfig(Section):
    """The model and its hyperparameters."""

    name: str = "ease"
    """Model name, as listed by `recctl models`."""
    params: dict[str, Any] = {}
    """Hyperparameters of the model; `recctl models NAME` lists them."""


class EarlyStoppingConfig(Section):
    """When training stops before the last epoch; the model of the best epoch is kept."""

    monitor: str | None = Field(None, min_length=1)
    """Validation metric such as `ndcg@10`, or `loss`; null: rmse for models of ratings, else ndcg@10."""
    patience: int = Field(5, ge=1, strict=True)
    """Number of consecutive validations without improvement after which training stops."""
    min_delta: float = Field(0.0001, ge=0, allow_inf_nan=False)
    """Smallest change that counts as an improvement."""


class TrainingConfig(Section):
    """Training options that are not hyperparameters of a model."""

    early_stopping: EarlyStoppingConfig | None = None
    """Stopping before the last epoch; null: never."""
    validate_every: int = Field(1, ge=1, strict=True)
    """Number of epochs between validations."""
    checkpoint_every: int = Field(1, ge=0, strict=True)
    """Number of epochs between checkpoints, from which `--resume` continues; 0: no checkpoints."""
    refit: bool = False
    """Refit on train + validation before the test evaluation, for the number of epochs chosen on validation."""
    warm_start: str | None = Field(None, min_length=1)
    """Run whose model training begins from, matched by ids; its id, a path, an alias or latest. Only for als, lightgcn,
    ncf and sasrec; null: from scratch."""


def _check_segment(entry: Any) -> Any:
    parse_segment(entry)
    return entry


_RANGE_SCHEMA: dict[str, Any] = {
    "cuts": {"type": "array", "items": {"type": "number"}, "minItems": 1},
    "quantiles": {"type": "integer", "minimum": 2},
}
_COUNT_SEGMENT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"type": "object", "properties": _RANGE_SCHEMA, "additionalProperties": False},
        _RANGE_SCHEMA["cuts"],
    ]
}
_COLUMN_SCHEMA: dict[str, Any] = {"anyOf": [{"type": "string", "minLength": 1}, {"type": "integer", "minimum": 0}]}
_COLUMN_SEGMENT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        *_COLUMN_SCHEMA["anyOf"],
        {
            "type": "object",
            "properties": {
                "column": _COLUMN_SCHEMA,
                "separator": {"type": "string", "minLength": 1},
                "label": {"type": "string", "pattern": "^[^=\\]]+$"},
                **_RANGE_SCHEMA,
            },
            "required": ["column"],
            "additionalProperties": False,
        },
    ]
}
# An entry of `evaluation.segments` in JSON Schema; `recctl.config.segments` checks it.
_SEGMENT_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {"enum": ["activity", "popularity", "new_users", "new_items"]},
        {
            "type": "object",
            "properties": {
                "activity": _COUNT_SEGMENT_SCHEMA,
                "popularity": _COUNT_SEGMENT_SCHEMA,
                "users": _COLUMN_SEGMENT_SCHEMA,
                "items": _COLUMN_SEGMENT_SCHEMA,
                "interactions": _COLUMN_SEGMENT_SCHEMA,
            },
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
        },
    ]
}
SegmentEntry = Annotated[str | dict[str, Any], BeforeValidator(_check_segment), WithJsonSchema(_SEGMENT_SCHEMA)]


class EvaluationConfig(Section):
    """The metrics computed on validation and test."""

    metrics: list[str] = Field(["precision", "recall", "ndcg", "hit_rate"], min_length=1)
    """Metric names, as listed by `recctl config metrics`."""
    k_values: list[Annotated[int, Field(ge=1, strict=True)]] = Field([5, 10, 20], min_length=1)
    """Cutoffs: lengths of the evaluated recommendation lists."""
    monitor: str | None = None
    """Metric that ranks runs and models, e.g. `ndcg@10`; null: the first computed one of ndcg@10, ndcg, rmse, any."""
    relevance_threshold: float | None = None
    """Smallest rating of a relevant interaction; null: all interactions are relevant."""
    n_candidates: int | None = Field(None, ge=1)
    """Rank relevant items among this many sampled items, as some older papers do; null: among all items."""
    on_unknown: Literal["skip", "zero", "popular"] = "skip"
    """Test users that are not in train and have no history. skip: they are excluded and counted; zero: they count as 0;
    popular: they get the most popular items of train, as a server would answer that does not know a user."""
    exclude: Literal["known", "train", "none"] = "known"
    """Items of a user that are neither candidates nor relevant. known: those before the measured part (on test: in
    train and validation); train: those that the model was fitted on; none: none, so that repeats are recommended and
    count."""
    gain: Literal["rating", "exp2"] | None = None
    """Gain of a relevant item in NDCG. rating: its rating; exp2: 2 ** rating - 1; null: 1 for every relevant item."""
    segments: list[SegmentEntry] = []
    """Groups that are measured separately: activity, popularity, new_users, new_items, or a column, such as
    {users: country}, {items: genre}, {interactions: channel}; with options as in {activity: {cuts: [5, 20]}}."""


def search_strategies() -> list[str]:
    """Names of the search strategies: built-in ones (`recctl.tuning.strategies`), then those of plug-ins."""
    builtin_strategies = ("manual", "grid", "random", "bayesian", "coarse_to_fine")
    return list(dict.fromkeys([*builtin_strategies, *plugins.available("strategies")]))


# Previous names of keys, by section; they are accepted until version 0.4.
DEPRECATED_KEYS: dict[str, dict[str, str]] = {"tuning": {"no_gain": "patience", "minutes": "timeout_minutes"}}


def as_list(value: str | list[str] | None) -> list[str]:
    """The values of a key that takes one text or several."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else list(value)


# A dimension of a search space in JSON Schema; `recctl.models.base.search_space` checks it for the model.
_DIMENSION_SCHEMA: JsonDict = {
    "anyOf": [
        {"type": "array", "minItems": 1},
        {
            "type": "object",
            "properties": {
                "choices": {"type": "array", "minItems": 1},
                "low": {"type": "number"},
                "high": {"type": "number"},
                "log": {"type": "boolean"},
                "step": {"type": "number", "exclusiveMinimum": 0},
                "when": {"type": "object"},
            },
            "additionalProperties": False,
        },
    ]
}


class TuningConfig(Section):
    """Hyperparameter search."""

    allocation: Literal["equal", "adaptive"] = "equal"
    """With `models:`, how trials are divided among them. equal: n_trials and timeout_minutes are those of each model,
    and all models are refitted and tested. adaptive: they are those of the whole search; every rung gives each model
    that is left the same budget, the better half stays, and the last one gets the rest."""

    strategy: str = Field("bayesian", json_schema_extra=lambda schema: schema.update(enum=list(search_strategies())))
    """manual: given points; grid: all combinations; random; bayesian: proposed by a model of past trials;
    coarse_to_fine: rounds that zoom in on the best point; or the strategy of a plug-in."""
    sampler: Literal["tpe", "gp", "cmaes"] = "tpe"
    """Sampler of a bayesian search: tree-structured Parzen estimator, Gaussian process, or CMA-ES."""
    n_trials: int | None = Field(None, ge=1)
    """Number of trials; null: all points of manual and grid, else 50. A finite space ends when all points are
    measured."""
    timeout_minutes: float | None = Field(None, gt=0)
    """Time after which no trial starts; null: no limit."""
    patience: int | None = Field(None, ge=1)
    """Number of consecutive trials without improvement after which the search stops; null: no limit. With several
    metrics, a trial is an improvement if it enlarges the Pareto front: no earlier trial is at least as good in all."""
    monitor: str | Annotated[list[str], Field(min_length=1)] | None = None
    """Validation metric to optimize, e.g. `ndcg@10`; null: evaluation.monitor. A list gives the Pareto front: a trial
    is on it if no other is at least as good in all metrics and better in one. Of these, the model of the trial with the
    best first metric is kept."""
    pick: str | Annotated[list[str], Field(min_length=1)] | None = None
    """Condition on a metric, e.g. `coverage@10>=0.3`, or a list of them: of the trials on the Pareto front that satisfy
    all, the model of the one with the best first metric is kept; null: all of the front."""
    space: dict[str, Any] = Field({}, json_schema_extra={"additionalProperties": _DIMENSION_SCHEMA})
    """Search space: for each hyperparameter (or key, e.g. data.min_item_interactions) a list of choices, or
    `{low, high, log: true, step, when: {other: value}}`; empty: the default ranges of the model. Every trial but the
    first, the config's own point, lies in it."""
    points: list[dict[str, Any]] = []
    """Points of a manual search, each `{parameter: value}`."""
    grid_size: int = Field(5, ge=2)
    """Number of grid values of a range without a step."""
    n_rounds: int = Field(3, ge=2)
    """Rounds of coarse_to_fine; each searches a third of the previous range, around the best point."""
    round_size: int | None = Field(None, ge=2)
    """Trials of a round of coarse_to_fine; null: n_trials divided by n_rounds. Set when a search gets more trials."""
    pruner: Literal["none", "median", "hyperband"] = "median"
    """How unpromising trials of models trained in epochs are stopped early. median: a trial stops if its best value so
    far is worse than the median of the complete trials in that epoch, of which there must be at least five. With a
    rolling split, trials of any model are stopped between windows, by their mean so far."""
    jobs: int | None = Field(None, ge=1)
    """Number of parallel trials, each in its own process with its share of the threads; null: 1, or as many as fit on
    the cluster."""

    @field_validator("strategy")
    @classmethod
    def _check_strategy(cls, strategy: str) -> str:
        if strategy not in search_strategies():
            raise ValueError(f"unknown strategy {strategy!r}{did_you_mean(strategy, search_strategies())}")
        return strategy


class EngineConfig(Section):
    """Where parallel work runs."""

    name: Literal["local", "ray"] = "local"
    """local: this machine; ray: a Ray cluster."""
    address: str | None = None
    """Address of the cluster, as in `ray.init`; null: start one on this machine."""
    cpus_per_task: float = Field(1.0, gt=0)
    """CPUs that a task reserves, and number of its threads."""
    gpus_per_task: float = Field(0.0, ge=0)
    """GPUs that a task reserves."""


class MLflowConfig(Section):
    """MLflow tracking."""

    uri: str | None = Field(None, min_length=1)
    """Tracking server or database, e.g. `http://host:5000` or `sqlite:///mlflow.db`; null: $MLFLOW_TRACKING_URI, else
    MLflow's default."""
    experiment: str = Field("recctl", min_length=1)
    """Experiment that runs are added to; created if it does not exist."""
    report: bool = True
    """Whether commands also store the HTML report of the run, for which they read the data again."""

    @field_validator("uri")
    @classmethod
    def _reject_password(cls, uri: str | None) -> str | None:
        if uri and re.search(r"://[^/@]*:[^/@]*@", uri):
            raise ValueError(
                "the password would be stored in every run; set MLFLOW_TRACKING_USERNAME and "
                "MLFLOW_TRACKING_PASSWORD, or all of MLFLOW_TRACKING_URI, in the environment"
            )
        return uri


class BacktestConfig(Section):
    """Backtests: what `recctl compare` does with the windows of a rolling split."""

    warm_start: bool = False
    """Whether als, lightgcn, ncf and sasrec begin in each window from their model of the window before; false: from
    scratch, so that windows are independent. Other models always begin from scratch."""


class TrackingConfig(Section):
    """Experiment trackers that receive the metrics of a run while it proceeds; their errors do not stop the run."""

    mlflow: MLflowConfig | None = None
    """MLflow server or database; null: none."""
    tensorboard: bool | str = False
    """TensorBoard event files: true: in the directory of the run; or a directory with one subdirectory per run."""


class ComparedModel(ModelConfig):
    """One of the models of a comparison, or a file of recommendation lists that was made elsewhere."""

    recommendations: str | None = Field(None, min_length=1)
    """Instead of a model: a file with the columns user_id, item_id, and rank or score, relative to this file; `name` is
    then its label, by default the name of the file. It is compared, and never kept as the best model."""
    columns: dict[Literal["user_id", "item_id", "rank", "score"], str | int] = {}
    """Names of the columns of `recommendations`, e.g. {user_id: customer, rank: position}; by default those of
    data.columns, or well-known names."""
    label: str | None = Field(None, min_length=1)
    """Label in tables; null: the name of the model, with params if several models share it."""
    training: TrainingConfig | None = None
    """Training options of this model; null: those of the config."""
    space: dict[str, Any] = Field({}, json_schema_extra={"additionalProperties": _DIMENSION_SCHEMA})
    """Search space of this model in `recctl tune`, as in tuning.space; empty: the default ranges of the model."""

    @model_validator(mode="before")
    @classmethod
    def _name_lists_by_file(cls, values: Any) -> Any:
        if isinstance(values, dict) and isinstance(values.get("recommendations"), str) and not values.get("name"):
            return values | {"name": PurePath(values["recommendations"]).name.partition(".")[0]}
        return values

    @model_validator(mode="after")
    def _check_lists(self) -> ComparedModel:
        if self.recommendations is None and self.columns:
            raise ValueError(
                "columns are those of a file of recommendations; set recommendations: FILE, or remove them"
            )
        if self.recommendations is not None and (self.params or self.training is not None or self.space):
            raise ValueError("a file of recommendations is not fitted; remove params, training and space")
        return self


class Config(Section):
    """An experiment.

    Examples:
        ```python
        from recctl import Config

        config = Config.model_validate({"data": {"source": "synthetic"}, "model": {"name": "ease"}})
        print(config.evaluation.k_values)  # every default is filled in
        ```
    """

    # Without the example, which editors would show.
    model_config = ConfigDict(json_schema_extra={"description": "An experiment."})

    seed: int = Field(42, ge=0, strict=True)
    """Seed of all random numbers."""
    data: DataConfig = DataConfig()
    """The interactions and their preprocessing."""
    split: SplitConfig = RandomSplit()
    """Split into train, validation and test."""
    model: ModelConfig = ModelConfig()
    """The model and its hyperparameters."""
    training: TrainingConfig = TrainingConfig()
    """Training options."""
    evaluation: EvaluationConfig = EvaluationConfig()
    """Metrics."""
    tuning: TuningConfig | None = None
    """Hyperparameter search of `recctl tune`."""
    backtest: BacktestConfig | None = None
    """Backtest of a rolling split; null: the defaults."""
    engine: EngineConfig | None = None
    """Where parallel work runs; null: on this machine."""
    tracking: TrackingConfig | None = None
    """Experiment trackers; null: none."""
    models: list[ComparedModel] = []
    """Models of `recctl compare` and `recctl tune`, instead of `model`: a list of {name, params}; in `compare` also
    {recommendations: FILE, name}."""

    @property
    def has_validation(self) -> bool:
        """Whether the split has a validation part."""
        return any(getattr(self.split, key, None) for key in ("val_size", "validation", "val_start", "val_days"))

    @property
    def validation_setting(self) -> tuple[str, Any]:
        """A key of the config that gives the split a validation part, and a usual value."""
        is_by_dates = getattr(self.split, "test_days", None) or getattr(self.split, "test_start", None)
        return ("split.val_days", 7) if is_by_dates else ("split.val_size", 0.1)

    @model_validator(mode="before")
    @classmethod
    def _default_to_random_split(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        split_values = values.get("split")
        if isinstance(split_values, dict) and "strategy" not in split_values:
            return values | {"split": {"strategy": "random"} | split_values}
        return values
