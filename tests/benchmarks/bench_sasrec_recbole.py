"""SASRec: ranking quality compared with RecBole, by the protocol of `bench_sasrec`; this takes hours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pandas as pd
from bench_sasrec import TrainEpoch, measure_quality, start_peer


@contextmanager
def start_recbole(rows: pd.DataFrame, held_out: pd.DataFrame, dropout: float) -> Iterator[TrainEpoch]:
    """Yield a function that trains an epoch of RecBole and returns hit rate and NDCG at 10."""
    with start_peer("recbole", rows, 0, dropout, held_out) as train_epoch:
        yield lambda: train_epoch()[2:]


if __name__ == "__main__":
    measure_quality("RecBole", start_recbole)
