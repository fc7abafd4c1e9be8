"""Why a model does not know an id, as far as the run can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from recctl.data.vocabulary import Vocabulary
from recctl.runs import Run
from recctl.suggest import most_similar

Kind = Literal["user", "item"]

_MAX_LISTED = 5
# Finding the most similar of more ids would take seconds.
_MAX_COMPARED = 200_000


def unknown_ids(ids: Sequence[Any], vocabulary: Vocabulary) -> list[Any]:
    """The ids that a vocabulary lacks, each once."""
    codes = vocabulary.codes(ids).tolist()
    return list(dict.fromkeys(known_id for known_id, code in zip(ids, codes, strict=True) if code < 0))


def listed(unknown: Sequence[Any], vocabulary: Vocabulary) -> str:
    """The first unknown ids for a message, each with the id that may have been meant."""
    texts = [f"{unknown_id}{_suggestion(unknown_id, vocabulary)}" for unknown_id in unknown[:_MAX_LISTED]]
    if len(unknown) > _MAX_LISTED:
        texts.append(f"and {len(unknown) - _MAX_LISTED} more")
    return ", ".join(texts)


def known_ids(vocabulary: Vocabulary, kind: Kind) -> str:
    """How many ids the model knows and, if they are integers, their range: `80 users (ids 1 to 943)`."""
    text = f"{len(vocabulary):,} {kind}s"
    if vocabulary.is_text or not len(vocabulary):
        return text
    return f"{text} (ids {vocabulary.ids[0]} to {vocabulary.ids[-1]})"


def _suggestion(unknown: Any, vocabulary: Vocabulary) -> str:
    # Integers are similar to many others by chance.
    if not vocabulary.is_text or len(vocabulary) > _MAX_COMPARED:
        return ""
    similar = most_similar(str(unknown), vocabulary.ids.tolist())
    return "" if similar is None else f" (did you mean {similar}?)"


def reasons(run: Run, kind: Kind) -> list[str]:
    """The settings of a run that left out users or items that its source has."""
    data = run.metadata.get("data", {})
    settings = _data_settings(run)
    found = []
    key = f"min_{kind}_interactions"
    if settings.get(key) and data.get("left_out_by_minimum"):
        found.append(f"data.{key}: {settings[key]} leaves out {kind}s with fewer interactions")
    counts = f"{kind}s"
    for step in data.get("preprocess", []):
        n_before = step["before"][counts]
        n_left_out = n_before - step["after"][counts]
        if n_left_out:
            found.append(f"the step {step['name']} of data.preprocess left out {n_left_out:,} of {n_before:,} {counts}")
    return found


def _data_settings(run: Run) -> dict[str, Any]:
    from recctl.config.yaml_tree import parse

    values = parse(run.config_text(), "config.yaml").values
    return values.get("data") or {}
