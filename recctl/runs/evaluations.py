"""Evaluation records: which model, data and protocol the figures of a run belong to.

Figures are merged only where all three are equal. evaluations.json has a list of records, metrics.json the figures of
the run's current model alone, and per_user.parquet the values by user of every record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from recctl.errors import ArtifactError

_ID_LENGTH = 12
_HASH_DIGITS = 12
# `fitted_on` of recommendation lists that were made elsewhere: nothing is known of it.
NOT_FITTED = "unknown"
# Settings of the protocol that versions before 0.3 stored in their configs.
_SETTINGS_OF_VERSION_1 = ("n_candidates", "relevance_threshold", "on_unknown")


@dataclass(frozen=True)
class MeasuredData:
    """What an evaluation measured: a part of the run's split, or a file.

    Attributes:
        part: The part; None for a file.
        data_hash: Content hash of the preprocessed data; of a file before version 0.3: unknown (None).
        split_hash: Hash of the split; None for a file.
        file: The file as it was given; None for a part.
    """

    part: str | None
    data_hash: str | None
    split_hash: str | None = None
    file: str | None = None

    @property
    def label(self) -> str:
        """The key of metrics.json: the part, or `file:` and the first digits of the content hash."""
        if self.part is not None:
            return self.part
        # Versions before 0.3 knew files by their name alone.
        return f"file:{self.data_hash[:_HASH_DIGITS]}" if self.data_hash else f"file:{self.file}"

    @property
    def identity(self) -> tuple[str | None, ...]:
        """Equal for equal data, wherever the file is."""
        if self.part is None and self.data_hash is not None:
            return (self.data_hash,)
        return (self.part, self.data_hash, self.split_hash, self.file)


@dataclass(frozen=True)
class MeasuredModel:
    """The model version that an evaluation measured.

    Attributes:
        version: Its version in the run.
        sha256: Hash of its file.
        fitted_on: The data that it was fitted on: "train", "train+validation" or "all"; "unknown" for recommendation
            lists that were made elsewhere.
    """

    version: int
    sha256: str
    fitted_on: str


@dataclass(frozen=True)
class EvaluationRecord:
    """One evaluation, as evaluations.json stores it.

    Attributes:
        data: What was measured.
        model: Which model.
        protocol: How, by setting: figures of different protocols can't be compared.
        time: When, in ISO format.
        counts: Numbers of users and interactions that were measured or left out, by task.
        metrics: The figures by key.
        segments: By key of each segment, `n_users`, `metrics` (`value`, `low` and `high` by metric key), the
            `definition` of the segment, and the `range` of a quantile. Segments are no part of the protocol.
    """

    data: MeasuredData
    model: MeasuredModel
    protocol: dict[str, Any]
    time: str
    counts: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    segments: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """Equal for equal model, data and protocol; the column `evaluation` of per_user.parquet."""
        identity = [self.data.identity, self.model.sha256, sorted(self.protocol.items())]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:_ID_LENGTH]

    def merged_into(self, earlier: EvaluationRecord) -> EvaluationRecord:
        """Return this record with the figures of an earlier one of the same id that it does not have."""
        segments = earlier.segments | {
            key: _merge_segments(earlier.segments.get(key), segment) for key, segment in self.segments.items()
        }
        return replace(
            self, counts=earlier.counts | self.counts, metrics=earlier.metrics | self.metrics, segments=segments
        )

    @property
    def segment_metrics(self) -> dict[str, dict[str, float]]:
        """The figures of each segment by key, without intervals."""
        return {
            key: {metric_key: figure["value"] for metric_key, figure in segment["metrics"].items()}
            for key, segment in self.segments.items()
        }

    def to_json(self) -> dict[str, Any]:
        """Return the record as plain values."""
        values = {"id": self.id} | asdict(self)
        if not self.segments:
            del values["segments"]
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> EvaluationRecord:
        """Make the record of plain values.

        Raises:
            ArtifactError: They are not those of a record.
        """
        try:
            return cls(
                MeasuredData(**values["data"]),
                MeasuredModel(**values["model"]),
                dict(values["protocol"]),
                str(values["time"]),
                dict(values["counts"]),
                dict(values["metrics"]),
                dict(values.get("segments", {})),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"damaged: not an evaluation record: {error!r}") from None


def is_same_segment(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two segments of the same key, as records hold them, are the same division of the same data."""
    return bool(first["definition"] == second["definition"] and first.get("range") == second.get("range"))


def _merge_segments(earlier: dict[str, Any] | None, later: dict[str, Any]) -> dict[str, Any]:
    if earlier is None or not is_same_segment(earlier, later) or earlier["n_users"] != later["n_users"]:
        return later
    return later | {"metrics": earlier["metrics"] | later["metrics"]}


class Comparability(NamedTuple):
    """Whether the figures of two evaluations can be compared.

    Attributes:
        reasons: Why not; empty if they can be compared.
        unequal_training: How the training data of the models differ, if only one of them was fitted on validation too.
    """

    reasons: list[str]
    unequal_training: str | None


def comparability(first: EvaluationRecord, second: EvaluationRecord) -> Comparability:
    """Say whether the figures of two evaluations can be compared, and why not.

    This is the only such check: `best`, `runs compare`, `report`, `compare` and `--fail-if-worse` use it.
    """
    reasons = list(data_reasons(first.data, second.data))
    reasons.extend(_protocol_reasons(first.protocol, second.protocol))
    unequal_training = None
    fitted_on = {first.model.fitted_on, second.model.fitted_on}
    if len(fitted_on) > 1 and NOT_FITTED not in fitted_on:
        unequal_training = f"fitted on {first.model.fitted_on} and on {second.model.fitted_on}"
    return Comparability(reasons, unequal_training)


def data_reasons(first: MeasuredData, second: MeasuredData) -> Iterator[str]:
    """Yield how two evaluated parts or files differ; nothing if they are the same."""
    if first.identity == second.identity:
        return
    if first.part != second.part:
        yield f"measured on {first.label} and on {second.label}"
    elif first.data_hash != second.data_hash or first.part is None:
        yield f"different data (hashes {_short(first.data_hash)} and {_short(second.data_hash)})"
    else:
        yield f"different split (hashes {_short(first.split_hash)} and {_short(second.split_hash)})"


def _protocol_reasons(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    if first["version"] != second["version"]:
        yield (
            f"evaluation protocol {first['version']} and {second['version']}: recctl before 0.3 broke ties by "
            "item order and ranked items of validation on test; measure the older run again with `recctl evaluate`"
        )
        # How ties are broken follows from the version.
        first = {**first, "tie_rule": None}
        second = {**second, "tie_rule": None}
    for setting in sorted((first.keys() | second.keys()) - {"version"}):
        if first.get(setting) != second.get(setting):
            yield f"evaluation.{setting} is {first.get(setting)!r} and {second.get(setting)!r}"


def _short(content_hash: str | None) -> str:
    return "unknown" if content_hash is None else content_hash[:_HASH_DIGITS]


# ---- records of a run


def current_records(
    records: Sequence[EvaluationRecord], models: Sequence[dict[str, Any]]
) -> dict[str, EvaluationRecord]:
    """Return the record of each part or file that holds for the run's current model.

    Of several protocols, it is the one of the run itself: that of its first evaluation, by the newest version.

    Args:
        records: All records of a run, in the order of evaluation.
        models: The entries of its model versions, oldest first.
    """
    current: dict[str, EvaluationRecord] = {}
    for record in records:
        model_entry = measured_model_entry(models, record.data.part)
        if model_entry is None or record.model.sha256 != model_entry["sha256"]:
            continue
        label = record.data.label
        if label not in current or _preference(record, records[0]) >= _preference(current[label], records[0]):
            current[label] = record
    return current


def measured_model_entry(models: Sequence[dict[str, Any]], part: str | None) -> dict[str, Any] | None:
    """Return the entry of the model version that is measured on a part or a file (None): the newest.

    On validation it is the newest that was not fitted on validation; None if there is none.
    """
    model_entry: dict[str, Any]
    for model_entry in reversed(models):
        if part != "validation" or model_entry["fitted_on"] in ("train", NOT_FITTED):
            return model_entry
    return None


def records_of_version_1(
    metrics: Mapping[str, Mapping[str, float]],
    metadata: Mapping[str, Any],
    settings: Mapping[str, Any],
) -> list[EvaluationRecord]:
    """Make the records of a run of a version before 0.3, which has figures alone.

    Args:
        metrics: The content of metrics.json.
        metadata: The content of metadata.json.
        settings: The section `evaluation` of its config.
    """
    protocol = {"version": 1, "tie_rule": 1, "exclude": "train"}
    protocol |= {setting: settings.get(setting) for setting in _SETTINGS_OF_VERSION_1}
    if protocol["n_candidates"] is not None:
        protocol["candidate_seed"] = metadata.get("seed")
    counts = metadata.get("evaluation") or {}
    records = []
    for label, values in metrics.items():
        part = None if label.startswith("file:") else label
        model_entry = measured_model_entry(metadata["models"], part)
        if model_entry is None:
            continue
        model = MeasuredModel(model_entry["version"], model_entry["sha256"], model_entry["fitted_on"])
        data = MeasuredData(None, None, file=label.removeprefix("file:"))
        if part is not None:
            data = MeasuredData(part, metadata.get("data", {}).get("hash"), metadata.get("split", {}).get("hash"))
        records.append(
            EvaluationRecord(
                data, model, protocol, str(metadata.get("finished")), counts.get(label) or {}, dict(values)
            )
        )
    return records


def _preference(record: EvaluationRecord, first: EvaluationRecord) -> tuple[bool, int]:
    ignored = ("version", "tie_rule")
    # Some settings are stored only where they are used, such as `gain`.
    settings = (first.protocol.keys() | record.protocol.keys()) - set(ignored)
    is_own = all(record.protocol.get(setting) == first.protocol.get(setting) for setting in settings)
    return is_own, record.protocol["version"]
