"""What some people would see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from recctl.reports.recompute import Recomputed
from recctl.reports.render.html import Html, join, note, table, tag
from recctl.reports.report_data import LeftOutError, ReportData

_K, _SHOWN, _AT = 10, 6, (0.2, 0.5, 0.8)


def examples(material: ReportData) -> Html:
    """The first recommendations to a quiet, an ordinary and a busy user, beside what they are known by."""
    again = material.reread
    if not again.models:
        raise LeftOutError("; ".join(again.without.values()))
    name_of = _Names(again)
    shown = [tag("div", _of_user(again, user, name_of)) for user in _chosen(again)]
    beside = tag("div", shown, class_="grid small") if len(again.models) == 1 else shown
    return join([beside, note(name_of.said())])


def _chosen(again: Recomputed) -> Sequence[int]:
    """Codes of three users that every model knows, by how much is known of them; of validation, if there is one."""
    vocabulary = again.dataset.user_vocabulary
    known = again.activity > 0
    for model in again.models.values():
        codes = vocabulary.codes(model.user_vocabulary.ids)
        mask = np.zeros(len(vocabulary), bool)
        mask[codes[codes >= 0]] = True
        known &= mask
    if again.prepared.split.has_validation:
        held = np.zeros(len(vocabulary), bool)
        held[vocabulary.codes(again.validation.user_vocabulary.ids)] = True
        known = known & held if (known & held).any() else known
    users = np.flatnonzero(known)
    if not len(users):
        raise LeftOutError("there is no user that all the models know")
    ordered = users[np.argsort(again.activity[users], kind="stable")]
    places = dict.fromkeys(int(at * (len(ordered) - 1)) for at in _AT)
    return [int(ordered[place]) for place in places]


def _of_user(again: Recomputed, user: int, name_of: _Names) -> Html:
    user_id = again.dataset.user_vocabulary.ids[user]
    history = again.history(user)
    last = [name_of(item) for item in history[::-1][:_SHOWN]]
    when = "most recent first" if again.dataset.timestamps is not None else "some of them"
    wanted = _validation_items(again, user)
    columns: dict[str, list[Any]] = {}
    for label, model in again.models.items():
        found = model.recommend([user_id], _K)["item_id"]
        codes = again.dataset.item_vocabulary.codes(found)
        columns[label] = [[name_of(int(code)), _found(int(code) in wanted)] for code in codes]
    n = max(len(column) for column in columns.values())
    rows = [
        [str(place + 1), *(column[place] if place < len(column) else "" for column in columns.values())]
        for place in range(n)
    ]
    head = tag("h3", f"User {user_id}")
    known = tag(
        "p",
        f"Known by {len(history):,} interactions, {when}: ",
        "\u00a0· ".join(last),
        "\u00a0· …" if len(history) > len(last) else None,
    )
    heads = ["Rank", *(columns if len(columns) > 1 else ["Recommended"])]
    return join([head, known, table(f"Recommended to user {user_id}", heads, rows, words=range(len(heads)))])


def _found(is_found: bool) -> Html | None:
    return tag("span", " ✓ in validation", class_="found") if is_found else None


def _validation_items(again: Recomputed, user: int) -> set[int]:
    if not again.prepared.split.has_validation:
        return set()
    part = again.validation
    code = int(part.user_vocabulary.codes([again.dataset.user_vocabulary.ids[user]])[0])
    items = part.item_vocabulary.ids[part.items[part.users == code]]
    return set(again.dataset.item_vocabulary.codes(items).tolist())


class _Names:
    """What items are called: by title where there is one, else by id."""

    def __init__(self, again: Recomputed) -> None:
        self.again = again

    def __call__(self, item: int) -> str:
        item_id = self.again.dataset.item_vocabulary.ids[item]
        title = self.again.titles.get(item_id)
        if title is None and isinstance(item_id, str) and item_id.isdecimal():
            title = self.again.titles.get(int(item_id))
        return f"item {item_id}" if title is None else title

    def said(self) -> str:
        if self.again.titles:
            return "The models are those fitted on train; test is not looked at."
        return (
            "The models are those fitted on train; test is not looked at. The data have no titles here: these are ids."
        )
