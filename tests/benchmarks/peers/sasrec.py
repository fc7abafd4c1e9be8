"""Train SASRec of RecTools or RecBole with the full softmax, for each line of stdin.

usage: PYTHON sasrec.py rectools|recbole ROWS.npy STEPS DROPOUT [TEST.npy]      in the peer's virtual environment

ROWS is an int64 array `(n, 2)` of users and items, each user's in order of time. A line of stdin starts STEPS training
steps (0: an epoch); the answer is a line with their seconds and their number of targets. With TEST, an array of the
same form with one item per user, all items that the user has not seen are ranked after the training; the line then
continues with hit rate and NDCG at 10 over the users of TEST whose item is in ROWS.
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
MAX_LENGTH = 50
DIM = 64
RECTOOLS_BATCH_SIZE = 128

# Seconds, number of targets, and optionally hit rate and NDCG.
Answer = tuple[float, ...]


def rectools(rows: np.ndarray, steps: int, dropout: float, test: np.ndarray | None) -> Callable[[], Answer]:
    """RecTools, with batches of 128 histories; its work before the first step is not timed."""
    from pytorch_lightning import Callback, Trainer
    from rectools.dataset import Dataset
    from rectools.models import SASRecModel

    class Clock(Callback):
        def on_train_epoch_start(self, *_: object) -> None:
            self.begin = time.perf_counter()
            self.n_targets = 0

        def on_train_batch_end(self, trainer: object, module: object, outputs: object, batch: dict, index: int) -> None:
            self.n_targets += int((batch["y"] != 0).sum())
            self.seconds = time.perf_counter() - self.begin

    clock = Clock()
    disabled = dict.fromkeys(("enable_progress_bar", "enable_model_summary", "logger", "enable_checkpointing"), False)
    sizes = {"n_factors": DIM, "n_blocks": 2, "n_heads": 1, "session_max_len": MAX_LENGTH, "dropout_rate": dropout}
    model = SASRecModel(
        **sizes,
        batch_size=RECTOOLS_BATCH_SIZE,
        lr=0.001,
        loss="softmax",
        recommend_torch_device="cpu",
        get_trainer_func=lambda: Trainer(
            max_epochs=1, accelerator="cpu", devices=1, callbacks=[clock], limit_train_batches=steps or 1.0, **disabled
        ),
    )
    frame = pd.DataFrame({"user_id": rows[:, 0], "item_id": rows[:, 1], "weight": 1.0})
    position = frame.groupby("user_id").cumcount()
    frame["datetime"] = pd.Timestamp("2000-01-01") + pd.to_timedelta(position, unit="h")
    data = Dataset.construct(frame)

    def train() -> Answer:
        model.fit_partial(data, min_epochs=1, max_epochs=1)
        clock = model.fit_trainer.callbacks[0]  # RecTools copies the callback
        answer = (clock.seconds, clock.n_targets)
        return answer if test is None else answer + evaluate()

    def evaluate() -> Answer:
        is_known = np.isin(test[:, 0], rows[:, 0]) & np.isin(test[:, 1], rows[:, 1])
        targets = pd.DataFrame(test[is_known], columns=["user_id", "item_id"])
        top_items = model.recommend(users=targets.user_id.to_numpy(), dataset=data, k=10, filter_viewed=True)
        ranks = top_items.merge(targets)["rank"]
        return len(ranks) / len(targets), float((1 / np.log2(ranks + 1)).sum()) / len(targets)

    return train


def recbole(rows: np.ndarray, steps: int, dropout: float, test: np.ndarray | None) -> Callable[[], Answer]:
    """RecBole, where each target with its history is a training example; batches of 2048, its default.

    With a test set, batches have 512 examples: an epoch takes a minute or two, and has four times as many steps.
    """
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    root = Path(tempfile.mkdtemp())
    (root / "rows").mkdir()
    all_rows = rows if test is None else np.concatenate([rows, test])
    frame = pd.DataFrame(all_rows, columns=["user_id:token", "item_id:token"])
    frame["timestamp:float"] = np.arange(len(all_rows))
    frame.to_csv(root / "rows" / "rows.inter", sep="\t", index=False)
    settings = {
        "data_path": str(root),
        "checkpoint_dir": str(root / "saved"),
        "show_progress": False,
        "use_gpu": False,
        "gpu_id": "",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "TIME_FIELD": "timestamp",
        "MAX_ITEM_LIST_LENGTH": MAX_LENGTH,
        "hidden_size": DIM,
        "n_layers": 2,
        "n_heads": 1,
        "hidden_dropout_prob": dropout,
        "attn_dropout_prob": dropout,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "train_batch_size": 2048 if test is None else 512,
        "eval_args": {
            "split": {"LS": "valid_and_test" if test is None else "valid_only"},
            "order": "TO",
            "mode": "full",
            "group_by": None,
        },
    }
    sys.argv = sys.argv[:1]  # RecBole reads the arguments
    config = Config(model="SASRec", dataset="rows", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    train_loader, test_loader, _ = data_preparation(config, create_dataset(config))
    model = get_model("SASRec")(config, train_loader.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], "SASRec")(config, model)

    if test is not None:
        # RecBole checks every operation for NaN, which takes 40 % of the time and changes no result.
        torch.autograd.set_detect_anomaly(False)

    def train() -> Answer:
        batches = list(islice(train_loader, steps or len(train_loader)))
        begin = time.perf_counter()
        trainer._train_epoch(batches, 0)
        answer = (time.perf_counter() - begin, sum(len(batch) for batch in batches))
        return answer if test is None else answer + evaluate()

    def codes(field: str, values: np.ndarray) -> np.ndarray:
        return train_loader.dataset.token2id(field, values.astype(str))

    def evaluate() -> Answer:
        # RecBole's own evaluation of sequential models does not exclude seen items.
        pairs = pd.DataFrame({"user": codes("user_id", rows[:, 0]), "item": codes("item_id", rows[:, 1])})
        seen_items = pairs.groupby("user").item.agg(list)
        is_known = np.isin(codes("item_id", test[:, 1]), seen_items.explode().to_numpy(int))
        users = codes("user_id", test[is_known, 0])
        target_by_user = dict(zip(users, codes("item_id", test[is_known, 1]), strict=True))
        rank_list = []
        model.eval()
        with torch.no_grad():
            for interaction, *_ in test_loader:
                scores = model.full_sort_predict(interaction)
                for user, user_scores in zip(interaction["user_id"].tolist(), scores, strict=True):
                    if user in target_by_user:
                        # Item 0 is RecBole's padding.
                        user_scores[[0, *seen_items[user]]] = -torch.inf
                        rank_list.append(1 + int((user_scores > user_scores[target_by_user[user]]).sum()))
        ranks = np.array(rank_list)
        top_ranks = ranks[ranks <= 10]
        return len(top_ranks) / len(ranks), float((1 / np.log2(top_ranks + 1)).sum()) / len(ranks)

    return train


def main(peer: str, rows: str, steps: str, dropout: str, test: str = "") -> None:
    """Train for each line of stdin."""
    # Both libraries print to stdout.
    answers = sys.stdout
    sys.stdout = sys.stderr
    make_training = {"rectools": rectools, "recbole": recbole}[peer]
    test_rows = np.load(test) if test else None
    train = make_training(np.load(rows), int(steps), float(dropout), test_rows)
    torch.set_num_threads(2)
    for _ in sys.stdin:
        print(*train(), file=answers, flush=True)


if __name__ == "__main__":
    sys.path.pop(0)  # a file there has the name of a package
    main(*sys.argv[1:])
