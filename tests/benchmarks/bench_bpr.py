"""BPR: time of an epoch, compared with those of implicit and rusket."""

from __future__ import annotations

from side_by_side import alternate, fitting_peer, report, seconds_of, training_sets

from recctl import InteractionDataset
from recctl.models.bpr import BPRRecommender

# As in peers/fitting.py.
N_FACTORS = 64
N_EPOCHS = 20


def main() -> None:
    """Print a line for each dataset: seconds of a fit, divided by its epochs."""
    for data, rows in training_sets():
        train = InteractionDataset(rows)
        BPRRecommender(epochs=1, n_factors=N_FACTORS).fit(train)
        with (
            fitting_peer("implicit bpr", "implicit", rows) as implicit,
            fitting_peer("rusket bpr", "rusket", rows) as rusket,
        ):
            measures = {
                "recctl": lambda train=train: seconds_of(
                    lambda: BPRRecommender(epochs=N_EPOCHS, n_factors=N_FACTORS).fit(train)
                ),
                "implicit": implicit,
                "rusket": rusket,
            }
            medians = alternate(measures, repeats=7)
        report(
            f"bpr: an epoch, {N_FACTORS} factors", data, {name: seconds / N_EPOCHS for name, seconds in medians.items()}
        )


if __name__ == "__main__":
    main()
