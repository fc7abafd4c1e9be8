"""Fits of Surprise, on request.

usage: PYTHON rating.py PEER TRAIN.npy TEST.npy SETTINGS      in the peers' virtual environment

TRAIN and TEST are float64 arrays `(n, 3)` of users, items and ratings; SETTINGS is JSON, the arguments of the peer.
Every line read from stdin is answered by one fit and a line with its seconds, from a trainset to a model that can
predict, and the root of the mean squared error on TEST.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np
import pandas as pd
import surprise


def main(peer: str, train: str, test: str, settings: str) -> None:
    """Answer every line with one fit."""
    rows = pd.DataFrame(np.load(train), columns=["user", "item", "rating"])
    data = surprise.Dataset.load_from_df(rows, surprise.Reader(rating_scale=(1, 5))).build_full_trainset()
    held_out = list(map(tuple, np.load(test)))
    for _ in sys.stdin:
        model = getattr(surprise, peer)(**json.loads(settings))
        begin = time.perf_counter()
        model.fit(data)
        seconds = time.perf_counter() - begin
        print(seconds, surprise.accuracy.rmse(model.test(held_out), verbose=False), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
