"""Train an epoch of a RecBole model and evaluate it, for each line of stdin.

usage: PYTHON recbole.py NeuMF|LightGCN ML-100K.inter      in the peers' virtual environment

The answer is a line with the seconds of an epoch and of a full ranking of the validation set. The settings are
RecBole's defaults with batches of 2048, on two threads, 8:1:1 within users: NeuMF with 64 dim, layers [128, 64] and 1
negative; LightGCN with 2 layers, 64 dim and BPR.
"""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

import torch

warnings.filterwarnings("ignore")
logging.disable(logging.CRITICAL)


def main(name: str, path: str) -> None:
    """Train an epoch and evaluate for each line of stdin."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    root = Path(tempfile.mkdtemp())
    (root / "ml-100k").mkdir()
    shutil.copy(path, root / "ml-100k" / "ml-100k.inter")
    settings = {
        "data_path": str(root),
        "show_progress": False,
        "use_gpu": False,
        "gpu_id": "",
        "topk": [10],
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@10",
        "checkpoint_dir": str(root / "saved"),
        "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]},
        "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "mode": "full", "group_by": "user"},
        "train_batch_size": 2048,
    }
    sys.argv = sys.argv[:1]  # RecBole reads the arguments
    config = Config(model=name, dataset="ml-100k", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    train, validation, _ = data_preparation(config, create_dataset(config))
    model = get_model(name)(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    trainer.eval_collector.data_collect(train)
    torch.set_num_threads(2)
    for epoch, _ in enumerate(sys.stdin):
        begin = time.perf_counter()
        trainer._train_epoch(train, epoch)
        evaluation_begin = time.perf_counter()
        trainer.evaluate(validation, load_best_model=False)
        end = time.perf_counter()
        print(evaluation_begin - begin, end - evaluation_begin, flush=True)


if __name__ == "__main__":
    sys.path.pop(0)  # this file has the name of the package
    main(*sys.argv[1:])
