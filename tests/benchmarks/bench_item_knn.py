"""Item-kNN with 100 neighbors: time of a fit, from a table and from a matrix, compared with peers that get a matrix."""

from __future__ import annotations

from contextlib import ExitStack

import pandas as pd
from side_by_side import Measure, alternate, fitting_peer, report, seconds_of, training_sets

from recctl import InteractionDataset
from recctl.models.item_knn import ItemKNNRecommender

# The peers of fitting.py, by package.
PEERS = {"implicit": "implicit", "irspack": "irspack knn", "rusket": "rusket knn"}


def fit_from(data: pd.DataFrame | InteractionDataset) -> Measure:
    """A measure of a fit."""
    return lambda: seconds_of(lambda: ItemKNNRecommender(n_neighbors=100).fit(data))


def main() -> None:
    """Print two lines for each dataset and peer."""
    for data, rows in training_sets():
        ItemKNNRecommender().fit(rows.iloc[:1000])
        dataset = InteractionDataset(rows)
        with ExitStack() as stack:
            peers = {package: stack.enter_context(fitting_peer(name, package, rows)) for package, name in PEERS.items()}
            measures = {"from a table": fit_from(rows), "from a matrix": fit_from(dataset)} | peers
            medians = alternate(measures, repeats=9)
        from_table = medians.pop("from a table")
        from_matrix = medians.pop("from a matrix")
        report("item-knn: fit", data, {"recctl": from_table} | medians)
        report("item-knn: fit from a matrix", data, {"recctl": from_matrix} | medians)


if __name__ == "__main__":
    main()
