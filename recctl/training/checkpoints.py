"""Files that training leaves while it goes on: the best model, and all it takes to go on after a crash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recctl import artifacts
from recctl.errors import ArtifactError, ConfigError
from recctl.training import history
from recctl.training.early_stopping import Mode, checked_min_delta, direction, is_better
from recctl.training.loop import Epoch


class ModelCheckpoint:
    """Saves a model whenever it is better than ever before.

    As a callback, `model.fit(train, validation=..., callbacks=[ModelCheckpoint("models/best.pkl")])`; or by hand:

        checkpoint = ModelCheckpoint("models/best.pkl", monitor="ndcg@10", mode="max")
        for epoch in range(20):
            model.train_epoch(train)
            checkpoint(model, evaluator.evaluate(model, val, train_data=train))

    Args:
        filepath: Where to; missing folders are made, and what stood there is replaced. `recctl.load_model` reads it.
        monitor: The metric that is compared, or `loss` for the loss of training.
        mode: Whether lower or higher is better; auto: as it is of `monitor`.
        min_delta: A score is better if it beats the best one by more than this: what `EarlyStopping` has beside it, for
            both to choose the same epoch.

    Attributes:
        best_score: The best score so far; None before the first.
        best_epoch: Its epoch, from 1; by hand: which call it came with.

    Raises:
        ConfigError: An argument is not valid, or the direction of `monitor` is not known.
    """

    def __init__(
        self, filepath: str | Path, monitor: str = "ndcg@10", mode: Mode = "auto", min_delta: float = 0.0
    ) -> None:
        self.filepath = Path(filepath)
        self.monitor = monitor
        self.mode = direction(monitor, mode, "ModelCheckpoint")
        self.min_delta = checked_min_delta(min_delta, "ModelCheckpoint")
        self.best_score: float | None = None
        self.best_epoch = 0
        self._calls = 0

    def __call__(self, model: Any, metrics: Mapping[str, float]) -> bool:
        """Take the next metrics.

        Returns:
            Whether the model was saved.

        Raises:
            ConfigError: `monitor` is not among them.
        """
        self._calls += 1
        return self._take(model, metrics, self._calls)

    def _take(self, model: Any, metrics: Mapping[str, float], number: int) -> bool:
        if self.monitor not in metrics:
            there = ", ".join(metrics) or "nothing"
            raise ConfigError(f"ModelCheckpoint: monitor={self.monitor!r} is not measured (there is {there})")
        score = float(metrics[self.monitor])
        if not is_better(score, self.best_score, self.mode, self.min_delta):
            return False
        self.best_score, self.best_epoch = score, number
        model.save(self.filepath)
        return True

    # ---- as a callback

    def before_training(self, model: Any) -> None:
        """Begin anew."""
        self.best_score, self.best_epoch, self._calls = None, 0, 0

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        """Take the metrics of an epoch."""
        if epoch.validated or self.monitor == "loss":
            self._take(model, {**epoch.metrics, "loss": epoch.loss}, epoch.number)
        return False

    def after_training(self, model: Any) -> None:
        """Nothing is left to do."""

    def state(self) -> dict[str, Any]:
        """What going on takes, as plain values."""
        return {"best_score": self.best_score, "best_epoch": self.best_epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        """Go on from a state."""
        self.best_score, self.best_epoch = state["best_score"], state["best_epoch"]


class ResumableTraining:
    """A callback that keeps all it takes to go on: after a crash, training ends in the very model it would have had.

    It must stand behind the callbacks it follows. When training begins and its file is there, it goes on from there:
    the model and these callbacks get the state they had, and the history is cut back to that epoch.

    Args:
        path: The checkpoint; written whole or not at all.
        history_path: Gets a line for each epoch.
        followed: Callbacks with `state` and `set_state` whose state is kept too.
        every: After how many epochs the checkpoint is written; 0 for never.
    """

    def __init__(self, path: Path, history_path: Path, followed: Sequence[Any] = (), every: int = 1) -> None:
        self.path = path
        self.history_path = history_path
        self.followed = list(followed)
        self.every = every
        self._epochs: list[Epoch] = []

    def before_training(self, model: Any) -> None:
        """Nothing is known yet."""
        self._epochs = []

    def past_epochs(self, model: Any) -> tuple[list[Epoch], bool]:
        """Put model and callbacks where the checkpoint was written.

        Returns:
            The epochs that are over, and whether training had ended with the last of them.

        Raises:
            ArtifactError: The checkpoint is damaged, or another model's.
        """
        if self.path.exists():
            content = artifacts.load(self.path, "checkpoint")
            whose = {"model": model.name, "hyperparameters": model.hyperparameters()}
            if {name: content.get(name) for name in whose} != whose:
                raise ArtifactError(
                    f"{self.path}: the checkpoint of another model or of other hyperparameters; "
                    "remove it to begin from the first epoch"
                )
            try:
                for callback, state in zip(self.followed, content["callbacks"], strict=True):
                    callback.set_state(state)
                model.set_training_state(content["state"])
                self._epochs = [Epoch(**epoch) for epoch in content["epochs"]]
            except (KeyError, TypeError, ValueError) as error:
                raise ArtifactError(
                    f"{self.path}: damaged: {error}; remove it to begin from the first epoch"
                ) from error
        history.cut(self.history_path, len(self._epochs))
        return list(self._epochs), any(getattr(callback, "early_stop", False) for callback in self.followed)

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        """Write the epoch's line, and the checkpoint when it is due or training is about to end."""
        self._epochs.append(epoch)
        history.append(self.history_path, epoch)
        ending = any(getattr(callback, "early_stop", False) for callback in self.followed)
        if self.every and (epoch.number % self.every == 0 or ending):
            self._write(model)
        return False

    def after_training(self, model: Any) -> None:
        """Nothing is left to do."""

    def _write(self, model: Any) -> None:
        kept = ("number", "loss", "metrics", "learning_rate", "validated")
        artifacts.save(
            self.path,
            "checkpoint",
            {
                "model": model.name,
                "hyperparameters": model.hyperparameters(),
                "state": model.training_state(),
                "callbacks": [callback.state() for callback in self.followed],
                "epochs": [{name: getattr(epoch, name) for name in kept} for epoch in self._epochs],
            },
        )
