"""Notices of the library: warnings in a Python program, unless a listener displays them."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

from recctl import InteractionDataset, progress
from recctl.errors import RecctlWarning

STEPS = {"user_id": [1, 2], "item_id": [5, 6], "timestamp": [1, 2]}


def test_notice_is_a_warning_that_points_to_the_line_that_called_recctl():
    with pytest.warns(RecctlWarning, match="all timestamps are in 1970") as caught:
        InteractionDataset(pd.DataFrame(STEPS))
    assert [warning.filename for warning in caught] == [__file__]


def test_listener_gets_notices_instead(listener):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        InteractionDataset(pd.DataFrame(STEPS))
    assert len(listener.notices) == 1


def test_silence_drops_notices():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with progress.silence():
            InteractionDataset(pd.DataFrame(STEPS))
