"""Recommendations to three users, beside their histories."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np

from recctl.reports.errors import SectionOmittedError
from recctl.reports.recompute import Recomputed
from recctl.reports.render.blocks import Block, Grid, Group, Heading, Inline, Note, Paragraph, Styled, Table
from recctl.reports.report_data import ReportData

_LIST_LENGTH = 10
_HISTORY_LENGTH = 6
# Quantiles of the number of interactions at which the users are chosen: few, about the median, and many.
_ACTIVITY_QUANTILES = (0.2, 0.5, 0.8)


def examples(report_data: ReportData) -> list[Block]:
    """The first recommendations to a user with few, one with about average, and one with many interactions."""
    recomputed = report_data.recomputed
    if not recomputed.models:
        raise SectionOmittedError("; ".join(recomputed.unavailable.values()))
    item_names = _ItemNames(recomputed)
    users = [_user_blocks(recomputed, user, item_names) for user in _choose_users(recomputed)]
    note = Note(item_names.note)
    if len(recomputed.models) == 1:
        return [Grid([Group(blocks) for blocks in users], small=True), note]
    stacked = [user_block for blocks in users for user_block in blocks]
    stacked.append(note)
    return stacked


def _choose_users(recomputed: Recomputed) -> Sequence[int]:
    """Codes of up to three users that every model knows and, if possible, who are in validation."""
    vocabulary = recomputed.dataset.user_vocabulary
    candidates = recomputed.user_counts > 0
    for model in recomputed.models.values():
        user_codes = vocabulary.codes(model.user_vocabulary.ids)
        is_fitted = np.zeros(len(vocabulary), bool)
        is_fitted[user_codes[user_codes >= 0]] = True
        candidates &= is_fitted
    # Users of validation show hits.
    if recomputed.has_validation:
        is_held_out = np.zeros(len(vocabulary), bool)
        is_held_out[vocabulary.codes(recomputed.validation.user_vocabulary.ids)] = True
        if (candidates & is_held_out).any():
            candidates &= is_held_out
    users = np.flatnonzero(candidates)
    if not len(users):
        raise SectionOmittedError("no user is known to all the models")
    by_activity = users[np.argsort(recomputed.user_counts[users], kind="stable")]
    # Without repetition: of few users, several quantiles may be the same one.
    positions = dict.fromkeys(int(quantile * (len(by_activity) - 1)) for quantile in _ACTIVITY_QUANTILES)
    return [int(by_activity[position]) for position in positions]


def _user_blocks(recomputed: Recomputed, user: int, item_names: _ItemNames) -> list[Block]:
    user_id = recomputed.dataset.user_vocabulary.ids[user]
    recommended = _recommendations(recomputed, user, item_names)
    # Lists may differ in length: a model recommends no more items than it knows.
    table_rows = [[str(rank), *cells] for rank, cells in enumerate(zip_longest(*recommended.values(), fillvalue=""), 1)]
    headings = ["Rank"]
    if len(recommended) == 1:
        headings.append("Recommendation")
    else:
        headings += recommended
    return [
        Heading(f"User {user_id}"),
        Paragraph(_history(recomputed, user, item_names)),
        Table(f"Recommendations to user {user_id}", headings, table_rows, text_columns=range(len(headings))),
    ]


def _history(recomputed: Recomputed, user: int, item_names: _ItemNames) -> str:
    history = recomputed.history(user)
    history_names = [item_names.name(item_code) for item_code in history[::-1][:_HISTORY_LENGTH]]
    if len(history) > len(history_names):
        history_names.append("…")
    order_note = "" if recomputed.dataset.timestamps is None else ", most recent first"
    return f"History of {len(history):,} interactions{order_note}: " + "\u00a0· ".join(history_names)


def _recommendations(recomputed: Recomputed, user: int, item_names: _ItemNames) -> dict[str, list[Inline]]:
    """By model, the cells of the user's recommendations, best first."""
    user_id = recomputed.dataset.user_vocabulary.ids[user]
    relevant = _validation_items(recomputed, user)
    recommended: dict[str, list[Inline]] = {}
    for label, model in recomputed.models.items():
        # The public method, so that examples show what a caller would get, with seen items excluded.
        item_ids = model.recommend([user_id], _LIST_LENGTH)["item_id"]
        cells: list[Inline] = []
        for item_code in recomputed.dataset.item_vocabulary.codes(item_ids).tolist():
            cell_parts: list[str | Styled] = [item_names.name(item_code)]
            if item_code in relevant:
                cell_parts.append(Styled(" ✓ in validation", "hit"))
            cells.append(cell_parts)
        recommended[label] = cells
    return recommended


def _validation_items(recomputed: Recomputed, user: int) -> set[int]:
    """Codes of the user's items in validation."""
    if not recomputed.has_validation:
        return set()
    validation = recomputed.validation
    user_id = recomputed.dataset.user_vocabulary.ids[user]
    user_code = int(validation.user_vocabulary.codes([user_id])[0])
    item_ids = validation.item_vocabulary.ids[validation.items[validation.users == user_code]]
    return set(recomputed.dataset.item_vocabulary.codes(item_ids).tolist())


class _ItemNames:
    """Names of items: the title if the run has one, else the id."""

    def __init__(self, recomputed: Recomputed) -> None:
        self._ids = recomputed.dataset.item_vocabulary.ids
        self._titles = recomputed.titles

    def name(self, item: int) -> str:
        """The name of the item with a code."""
        item_id = self._ids[item]
        (title,) = self._titles.of([item_id])
        return f"item {item_id}" if title is None else title

    @property
    def note(self) -> str:
        """The sentence below the tables."""
        note_text = "Recommendations of the models that were fitted on train; the test part is not read."
        if not len(self._titles):
            note_text += " The data have no titles (data.items), so items are shown by id."
        return note_text
