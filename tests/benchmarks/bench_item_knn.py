"""Item-kNN with 100 neighbors: time of a fit from a table, compared with implicit's fit from a matrix."""

from __future__ import annotations

from side_by_side import alternate, classical_peer, report, seconds_of, training_sets

from recctl.models.item_knn import ItemKNNRecommender


def main() -> None:
    """Print a line for each dataset."""
    for data, rows in training_sets():
        ItemKNNRecommender().fit(rows.iloc[:1000])
        with classical_peer("implicit", "implicit", rows) as implicit:
            measures = {
                "recctl": lambda rows=rows: seconds_of(lambda: ItemKNNRecommender(n_neighbors=100).fit(rows)),
                "implicit": implicit,
            }
            report("item-knn: fit", data, alternate(measures, repeats=9))


if __name__ == "__main__":
    main()
