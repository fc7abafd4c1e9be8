"""Why a model does not know an id, as far as the run can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from recctl.data.vocabulary import Vocabulary
from recctl.errors import DataError
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
    # Integers are similar to many others by chance. Of text such as `007`, users forget the zeros.
    if not vocabulary.is_text or len(vocabulary) > _MAX_COMPARED:
        return ""
    known = vocabulary.ids.tolist()
    digits = str(unknown).lstrip("0")
    same_numbers = (known_id for known_id in known if digits.isdecimal() and known_id.lstrip("0") == digits)
    similar = next(same_numbers, None) or most_similar(str(unknown), known)
    return "" if similar is None else f" (did you mean {similar}?)"


def require_known(ids: Sequence[Any], vocabulary: Vocabulary, kind: Kind, run: Run, hint: str = "") -> None:
    """Raise an error that says why ids are unknown, as far as the run can tell.

    Args:
        ids: The ids to check.
        vocabulary: The ids that the model of the run knows.
        kind: Whether they are of users or of items.
        run: The run.
        hint: What to do, at the end of the message.

    Raises:
        DataError: The model was not fitted on one of the ids.
    """
    unknown = unknown_ids(ids, vocabulary)
    if not unknown:
        return
    what = kind if len(unknown) == 1 else f"{kind}s"
    known = known_ids(vocabulary, kind)
    message = f"{what} {listed(unknown, vocabulary)}: not among the {known} that the model was fitted on"
    parts = [message, *reasons(run, kind, len(vocabulary)), hint]
    raise DataError("; ".join(part for part in parts if part))


def reasons(run: Run, kind: Kind, n_known: int) -> list[str]:
    """What left out users or items that the source of a run has.

    Args:
        run: The run.
        kind: Whether users or items are meant.
        n_known: How many of them the model of the run knows.
    """
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
    n_held_out = data.get(counts, 0) - n_known
    if n_held_out > 0:
        found.append(f"the split leaves {n_held_out:,} of {data[counts]:,} {counts} without interactions to fit on")
    return found


def _data_settings(run: Run) -> dict[str, Any]:
    from recctl.config.yaml_tree import parse

    values = parse(run.config_text(), "config.yaml").values
    return values.get("data") or {}
