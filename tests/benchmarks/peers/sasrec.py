"""SASRec of RecTools or RecBole, on request, with the full softmax.

usage: PYTHON sasrec.py rectools|recbole ROWS.npy STEPS DROPOUT [HELD.npy]      in the peer's virtual environment

ROWS is an int64 array `(n, 2)` of users and items, oldest first within a user. Every line read from stdin is answered
by STEPS steps of training, 0 for an epoch, and a line with their seconds and how many targets they had. With HELD, rows
alike of one item for each user, all items that a user did not have are then ranked, and the line goes on with the hit
rate and NDCG at 10 over the users of HELD whose item is in ROWS.
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
    """Every target with what came before it is an example of its own; batches of 2048, its default.

    With HELD of 512: an epoch takes a minute or two, and has four times as many steps then.
    """
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    root = Path(tempfile.mkdtemp())
    (root / "rows").mkdir()
    everything = rows if held is None else np.concatenate([rows, held])
    frame = pd.DataFrame(everything, columns=["user_id:token", "item_id:token"])
    frame["timestamp:float"] = np.arange(len(everything))
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
        "train_batch_size": 2048 if held is None else 512,
        "eval_args": {
            "split": {"LS": "valid_and_test" if held is None else "valid_only"},
            "order": "TO",
            "mode": "full",
            "group_by": None,
        },
    }
    sys.argv = sys.argv[:1]
    config = Config(model="SASRec", dataset="rows", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    train, held_out, _ = data_preparation(config, create_dataset(config))
    model = get_model("SASRec")(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)

    if held is not None:
        # It looks for NaN behind every operation, which takes two fifths of the time and changes no result.
        torch.autograd.set_detect_anomaly(False)

    def answer() -> Answer:
        batches = list(islice(train, steps or len(train)))
        begin = time.perf_counter()
        trainer._train_epoch(batches, 0)
        measured = time.perf_counter() - begin, sum(len(batch) for batch in batches)
        return measured if held is None else (*measured, *ranked())

    def codes(field: str, values: np.ndarray) -> np.ndarray:
        return train.dataset.token2id(field, values.astype(str))

    def ranked() -> Answer:
        # RecBole's own evaluation of sequences leaves the items in that a user had.
        had = pd.DataFrame({"user": codes("user_id", rows[:, 0]), "item": codes("item_id", rows[:, 1])})
        had = had.groupby("user").item.agg(list)
        known = np.isin(codes("item_id", held[:, 1]), had.explode().to_numpy(int))
        wanted = dict(zip(codes("user_id", held[known, 0]), codes("item_id", held[known, 1]), strict=True))
        ranks = []
        model.eval()
        with torch.no_grad():
            for interaction, *_ in held_out:
                scores = model.full_sort_predict(interaction)
                for user, row in zip(interaction["user_id"].tolist(), scores, strict=True):
                    if user in wanted:
                        row[[0, *had[user]]] = -torch.inf
                        ranks.append(1 + int((row > row[wanted[user]]).sum()))
        ranks = np.array(ranks)
        top = ranks[ranks <= 10]
        return len(top) / len(ranks), float((1 / np.log2(top + 1)).sum()) / len(ranks)

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
