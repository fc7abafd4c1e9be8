"""User-kNN and RP3beta with 100 neighbors: time of a fit from a table, compared with irspack's fit from a matrix."""

from __future__ import annotations

from side_by_side import alternate, fitting_peer, report, seconds_of, training_sets

from recctl.models.registry import make_model


def main() -> None:
    """Print a line for each model and dataset."""
    for data, rows in training_sets():
        for name in ("user-knn", "rp3beta"):
            model = make_model(name, n_neighbors=100)
            model.fit(rows.iloc[:1000])
            with fitting_peer(f"irspack {name}", "irspack", rows) as irspack:
                measures = {
                    "recctl": lambda model=model, rows=rows: seconds_of(lambda: model.clone().fit(rows)),
                    "irspack": irspack,
                }
                report(f"{name}: fit", data, alternate(measures, repeats=9))


if __name__ == "__main__":
    main()
