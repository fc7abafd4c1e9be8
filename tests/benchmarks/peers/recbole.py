"""Epochs and evaluations of RecBole's models, on request.

usage: PYTHON recbole.py NeuMF|LightGCN ML-100K.inter      in the peers' virtual environment

Every line read from stdin is answered by one epoch of training and one full ranking of the validation part, and a line
with the seconds of each. RecBole's defaults, in batches of 2048, on two threads, 8:1:1 within users: NeuMF of 64 dim,
layers [128, 64] and 1 negative; LightGCN of 2 layers, 64 dim and BPR.
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
    """Answer every line with an epoch and an evaluation."""
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
    sys.argv = sys.argv[:1]
    config = Config(model=name, dataset="ml-100k", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    train, valid, _ = data_preparation(config, create_dataset(config))
    model = get_model(name)(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
    trainer.eval_collector.data_collect(train)
    torch.set_num_threads(2)
    for epoch, _ in enumerate(sys.stdin):
        begin = time.perf_counter()
        trainer._train_epoch(train, epoch)
        trained = time.perf_counter()
        trainer.evaluate(valid, load_best_model=False)
        print(trained - begin, time.perf_counter() - trained, flush=True)


if __name__ == "__main__":
    sys.path.pop(0)  # this file is named like the package
    main(*sys.argv[1:])
