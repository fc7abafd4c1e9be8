"""Fit a model of Surprise for each line of stdin.

usage: PYTHON rating.py PEER TRAIN.npy TEST.npy SETTINGS      in the peers' virtual environment

TRAIN and TEST are float64 arrays `(n, 3)` of users, items and ratings; SETTINGS are the model's arguments as JSON. The
answer is a line with the seconds of a fit, from a trainset to a fitted model, and the RMSE on TEST.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import surprise


def main(peer: str, train: str, test: str, settings: str) -> None:
    """Fit once for each line of stdin."""
    rows = pd.DataFrame(np.load(train), columns=["user", "item", "rating"])
    data = surprise.Dataset.load_from_df(rows, surprise.Reader(rating_scale=(1, 5))).build_full_trainset()
    test_ratings = list(map(tuple, np.load(test)))
    for _ in sys.stdin:
        model = getattr(surprise, peer)(**json.loads(settings))
        begin = time.perf_counter()
        model.fit(data)
        seconds = time.perf_counter() - begin
        rmse = surprise.accuracy.rmse(model.test(test_ratings), verbose=False)
        print(seconds, rmse, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
