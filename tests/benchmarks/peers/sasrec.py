"""SASRec of RecTools or RecBole, on request, with the full softmax.

usage: PYTHON sasrec.py rectools|recbole ROWS.npy STEPS DROPOUT [HELD.npy]      in the peer's virtual environment

ROWS is an int64 array `(n, 2)` of users and items, oldest first within a user. Every line read from stdin is answered
by STEPS steps of training, 0 for an epoch, and a line with their seconds and how many targets they had. With HELD, rows
alike of one item a user, RecTools then ranks all items that a user did not have, and the line goes on with the hit rate
and NDCG at 10 over the users of HELD whose item is in ROWS.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
import pandas as pd
import torch

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)
LENGTH, DIM, BATCH = 50, 64, 128

Answer = tuple[float, ...]


def rectools(rows: np.ndarray, steps: int, dropout: float, held: np.ndarray | None) -> Callable[[], Answer]:
    """Epochs of batches of 128 histories; what it does before the first step is not timed."""
    from pytorch_lightning import Callback, Trainer
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    class Clock(Callback):
        def on_train_epoch_start(self, *_: object) -> None:
            self.begin, self.n_targets = time.perf_counter(), 0

        def on_train_batch_end(self, trainer: object, module: object, outputs: object, batch: dict, at: int) -> None:
            self.n_targets += int((batch["y"] != 0).sum())
            self.seconds = time.perf_counter() - self.begin

    clock = Clock()
    quiet = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"), False)
    sizes = {"n_factors": DIM, "n_blocks": 2, "n_heads": 1, "session_max_len": LENGTH, "dropout_rate": dropout}
    model = SASRecModel(
        **sizes,
        batch_size=BATCH,
        lr=0.001,
        loss="softmax",
        recommend_torch_device="cpu",
        get_trainer_func=lambda: Trainer(
            max_epochs=1, accelerator="cpu", devices=1, callbacks=[clock], limit_train_batches=steps or 1.0, **quiet
        ),
    )
    frame = pd.DataFrame({"user_id": rows[:, 0], "item_id": rows[:, 1], "weight": 1.0})
    place = frame.groupby("user_id").cumcount()
    frame["datetime"] = pd.Timestamp("2000-01-01") + pd.to_timedelta(place, unit="h")
    data = Dataset.construct(frame)

    def answer() -> Answer:
        model.fit_partial(data, min_epochs=1, max_epochs=1)
        clock = model.fit_trainer.callbacks[0]  # a copy of ours
        measured = clock.seconds, clock.n_targets
        return measured if held is None else (*measured, *ranked())

    def ranked() -> Answer:
        known = np.isin(held[:, 0], rows[:, 0]) & np.isin(held[:, 1], rows[:, 1])
        wanted = pd.DataFrame(held[known], columns=["user_id", "item_id"])
        found = model.recommend(users=wanted.user_id.to_numpy(), dataset=data, k=10, filter_viewed=True)
        ranks = found.merge(wanted)["rank"]
        return len(ranks) / len(wanted), float((1 / np.log2(ranks + 1)).sum()) / len(wanted)

    return answer


def recbole(rows: np.ndarray, steps: int, dropout: float, held: np.ndarray | None) -> Callable[[], Answer]:
    """Every target with what came before it is an example of its own; batches of 2048, its default."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    root = Path(tempfile.mkdtemp())
    (root / "rows").mkdir()
    frame = pd.DataFrame(rows, columns=["user_id:token", "item_id:token"])
    frame["timestamp:float"] = np.arange(len(rows))
    frame.to_csv(root / "rows" / "rows.inter", sep="\t", index=False)
    settings = {
        "data_path": str(root),
        "checkpoint_dir": str(root / "saved"),
        "show_progress": False,
        "use_gpu": False,
        "gpu_id": "",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "TIME_FIELD": "timestamp",
        "MAX_ITEM_LIST_LENGTH": LENGTH,
        "hidden_size": DIM,
        "n_layers": 2,
        "n_heads": 1,
        "hidden_dropout_prob": dropout,
        "attn_dropout_prob": dropout,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full", "group_by": None},
    }
    sys.argv = sys.argv[:1]
    config = Config(model="SASRec", dataset="rows", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    train, _, _ = data_preparation(config, create_dataset(config))
    model = get_model("SASRec")(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)

    def answer() -> Answer:
        batches = list(islice(train, steps or len(train)))
        begin = time.perf_counter()
        trainer._train_epoch(batches, 0)
        return time.perf_counter() - begin, sum(len(batch) for batch in batches)

    return answer


def main(peer: str, rows: str, steps: str, dropout: str, held: str = "") -> None:
    """Answer every line."""
    # Both print, and RecBole reads the arguments.
    lines, answers = sys.stdin, sys.stdout
    sys.stdout = sys.stderr
    answer = {"rectools": rectools, "recbole": recbole}[peer](
        np.load(rows), int(steps), float(dropout), np.load(held) if held else None
    )
    torch.set_num_threads(2)
    for _ in lines:
        print(*answer(), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.pop(0)  # where a file is named like a package
    main(*sys.argv[1:])
