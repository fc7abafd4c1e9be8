"""Item-kNN with 100 neighbors: time of a fit from a table, compared with fits of peers from a matrix."""

from __future__ import annotations

from contextlib import ExitStack

from side_by_side import alternate, fitting_peer, report, seconds_of, training_sets

from recctl.models.item_knn import ItemKNNRecommender

# The peers of fitting.py, by package.
PEERS = {"implicit": "implicit", "irspack": "irspack knn", "rusket": "rusket knn"}


def main() -> None:
    """Print a line for each dataset and peer."""
    for data, rows in training_sets():
        ItemKNNRecommender().fit(rows.iloc[:1000])
        with ExitStack() as stack:
            measures = {"recctl": lambda rows=rows: seconds_of(lambda: ItemKNNRecommender(n_neighbors=100).fit(rows))}
            for package, name in PEERS.items():
                measures[package] = stack.enter_context(fitting_peer(name, package, rows))
            report("item-knn: fit", data, alternate(measures, repeats=9))


if __name__ == "__main__":
    main()
