"""A small file of every model in every format, with the recommendations that each must yield.

`python -m tests.models.past_formats [FOLDER]` adds those of the present format that are missing: to the format's
folder, or to a folder in it, such as `numpy-2.5` for files that this version of NumPy saved. Those without a folder of
their own were saved by NumPy 2.4 or earlier. Files of a past format are never made again: they are what an older recctl
left behind. `tests/blackbox/test_saved_models.py` reads all of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from recctl import artifacts
from recctl.models.registry import make_model, model_names
from tests.models.suite import as_text, toy

FOLDER = Path(__file__).parent / "formats"
USERS = [f"u{100 + n:06d}" for n in (0, 3, 17)]
_SMALL: dict[str, dict[str, Any]] = {
    "als": {"n_factors": 4, "n_iterations": 3},
    "bpr": {"n_factors": 4, "epochs": 2},
    "item-knn": {"n_neighbors": 5},
    "lightgcn": {"embedding_dim": 4, "epochs": 2},
    "mult-vae": {"embedding_dim": 4, "hidden_layers": [8], "epochs": 2},
    "ncf": {"embedding_dim": 4, "hidden_layers": [8, 4], "epochs": 2},
    "rp3beta": {"n_neighbors": 5},
    "sansa": {"n_neighbors": 3},
    "sasrec": {"embedding_dim": 4, "n_blocks": 1, "max_length": 8, "epochs": 2},
    "slim": {"l1_reg": 0.1, "l2_reg": 0.1},
    "svd": {"n_factors": 4, "n_epochs": 2},
    "svdpp": {"n_factors": 4, "n_epochs": 2},
    "user-knn": {"n_neighbors": 5},
}


def main() -> None:
    """Write the missing files of the current format."""
    folder = FOLDER.joinpath(str(artifacts.FORMAT_VERSION), *sys.argv[1:])
    folder.mkdir(parents=True, exist_ok=True)
    for name in model_names():
        path = folder / f"{name}.pkl"
        if path.exists():
            continue
        model = make_model(name, **_SMALL.get(name, {})).fit(as_text(toy(n_users=20, n_items=12)))
        model.save(path)
        said = model.recommend(USERS, k=4)
        expected = {column: said[column].tolist() for column in said}
        path.with_suffix(".json").write_text(json.dumps(expected, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
