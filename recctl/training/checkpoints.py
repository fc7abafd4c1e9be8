"""Checkpoints: the best model so far, and the training state to resume from after a crash."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recctl import arguments, artifacts
from recctl.errors import ArtifactError, ConfigError
from recctl.training import history
from recctl.training.loop import Epoch
from recctl.training.monitor import LOSS, Direction, Mode, Monitor, is_better


class ModelCheckpoint:
    """Saves a model whenever its score is the best so far.

    Use it as a callback, `model.fit(train, validation=..., callbacks=[ModelCheckpoint("models/best.pkl")])`, or in
    your own loop:

        checkpoint = ModelCheckpoint("models/best.pkl", monitor="ndcg@10", mode="max")
        for epoch in range(20):
            model.train_epoch(train)
            checkpoint(model, evaluator.evaluate(model, val, train_data=train))
        checkpoint.restore(model)  # the best model; or recctl.load_model("models/best.pkl")

    Args:
        filepath: File of the model, which `recctl.load_model` reads. Missing folders are created, and an existing file
            is replaced.
        monitor: Key of the metric, or `loss` for the training loss. By default the metric that the model is validated
            by: `rmse` if it predicts ratings, else `ndcg@10`.
        mode: Whether lower (`min`) or higher (`max`) is better; `auto` derives it from `monitor`.
        min_delta: Minimum improvement over the best score. Use the value of `EarlyStopping`, so that both choose the
            same epoch.

    Attributes:
        monitor: The monitored metric; None before the first score if none was given.
        mode: `min` or `max`; None while it is unknown.
        best_score: Best score so far; None before the first.
        best_epoch: Epoch of the best score, from 1; in your own loop, the number of the call.

    Raises:
        ConfigError: An argument is invalid, or the direction of `monitor` is unknown.

    Examples:
        ```python
        from recctl import ModelCheckpoint, SVDRecommender

        checkpoint = ModelCheckpoint("best.pkl", monitor="rmse")
        SVDRecommender(n_epochs=5).fit(train, validation=val, callbacks=[checkpoint])
        ```
    """

    def __init__(
        self, filepath: str | Path, monitor: str | None = None, mode: Mode = "auto", min_delta: float = 0.0
    ) -> None:
        self.filepath = Path(arguments.path("ModelCheckpoint", "filepath", filepath))
        self.min_delta = arguments.number("ModelCheckpoint", "min_delta", min_delta, 0)
        self._monitor = Monitor("ModelCheckpoint", monitor, mode)
        self.reset()

    @property
    def monitor(self) -> str | None:
        """The monitored metric; None before the first score if none was given."""
        return self._monitor.metric

    @property
    def mode(self) -> Direction | None:
        """Whether lower (`min`) or higher (`max`) scores are better; None while it is unknown."""
        return self._monitor.mode

    def reset(self) -> None:
        """Forget all scores; the file remains until a model is saved."""
        self._monitor.reset()
        self.best_score: float | None = None
        self.best_epoch = 0
        self._calls = 0

    def __call__(self, model: Any, metrics: Mapping[str, float]) -> bool:
        """Save the model if its score is the best so far.

        Returns:
            Whether the model was saved.

        Raises:
            ConfigError: `metrics` does not contain the monitored metric, or an argument is invalid.
        """
        _require_model(model)
        if not isinstance(metrics, Mapping):
            requirement = "must be a dict of metrics, as evaluator.evaluate(model, val) returns"
            raise ConfigError(arguments.problem("ModelCheckpoint", "metrics", metrics, requirement))
        self._calls += 1
        return self._update(model, metrics, self._calls)

    def _update(self, model: Any, metrics: Mapping[str, float], number: int) -> bool:
        score, mode = self._monitor.choose(model, metrics)
        if not is_better(score, self.best_score, mode, self.min_delta):
            return False
        self.best_score = score
        self.best_epoch = number
        # Saved at once, not at the end: a killed process leaves the best model so far.
        model.save(self.filepath)
        return True

    def restore(self, model: Any) -> None:
        """Load the best model into `model`; without a saved one, the model stays as it is."""
        _require_model(model)
        if self.best_epoch:
            model.load(self.filepath)

    # ---- as a callback

    def before_training(self, model: Any) -> None:
        """Forget all scores."""
        self.reset()

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        """Save the model if the epoch's score is the best so far."""
        # The loss is known after every epoch, also where no validation was due.
        if epoch.validated or self.monitor == LOSS:
            self._update(model, dict(epoch.metrics) | {LOSS: epoch.loss}, epoch.number)
        return False

    def after_training(self, model: Any) -> None:
        """Does nothing."""

    def state(self) -> dict[str, Any]:
        """State to resume from, as plain values."""
        return {"best_score": self.best_score, "best_epoch": self.best_epoch}

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore a result of `state`."""
        self.best_score = state["best_score"]
        self.best_epoch = state["best_epoch"]


def _require_model(model: Any) -> None:
    if isinstance(model, type) or not hasattr(model, "save"):
        raise ConfigError(arguments.problem("ModelCheckpoint", "model", model, "must be a recctl model"))


class ResumableTraining:
    """A callback that writes the training state, so that a resumed training gives the same model bit for bit.

    It must come after the callbacks in `followed`. If its file exists when training begins, it restores the state of
    the model and of these callbacks, and cuts the history back to that epoch.

    Args:
        path: File of the checkpoint, written atomically.
        history_path: File of the history, with one line per epoch.
        followed: Callbacks with `state` and `set_state` whose state is saved, too.
        every: Number of epochs between checkpoints; 0 for none.
    """

    def __init__(self, path: Path, history_path: Path, followed: Sequence[Any] = (), every: int = 1) -> None:
        self.path = path
        self.history_path = history_path
        self.followed = list(followed)
        self.every = every
        self._epochs: list[Epoch] = []

    def before_training(self, model: Any) -> None:
        """Forget the epochs of an earlier training."""
        self._epochs = []

    def past_epochs(self, model: Any) -> tuple[list[Epoch], bool]:
        """Restore the model and the callbacks from the checkpoint.

        Returns:
            The finished epochs, and whether training had stopped after the last of them.

        Raises:
            ArtifactError: The checkpoint is damaged, or belongs to another model.
        """
        if self.path.exists():
            content = load_checkpoint(self.path, model)
            try:
                # Callbacks are matched by position; `strict` refuses a checkpoint of another number of them.
                for callback, callback_state in zip(self.followed, content["callbacks"], strict=True):
                    callback.set_state(callback_state)
                model.set_training_state(content["state"])
                self._epochs = [Epoch(**epoch_values) for epoch_values in content["epochs"]]
            except (KeyError, TypeError, ValueError) as error:
                raise ArtifactError(
                    f"{self.path}: damaged: {error}; remove it to start from the first epoch"
                ) from error
        # The history gets a line after every epoch, the checkpoint every `every` epochs: after a crash, the history may
        # be ahead, and these epochs are trained again.
        history.cut(self.history_path, len(self._epochs))
        return list(self._epochs), any(getattr(callback, "early_stop", False) for callback in self.followed)

    def after_epoch(self, model: Any, epoch: Epoch) -> bool:
        """Append the epoch to the history, and write the checkpoint if it is due or training stops."""
        self._epochs.append(epoch)
        # The history first: a crash between the two leaves a line too many, which the next start cuts, not one too few.
        history.append(self.history_path, epoch)
        is_stopping = any(getattr(callback, "early_stop", False) for callback in self.followed)
        # Also when training stops, whatever `every` is: a run interrupted after that resumes without training again.
        if self.every and (epoch.number % self.every == 0 or is_stopping):
            self._write(model)
        return False

    def after_training(self, model: Any) -> None:
        """Does nothing."""

    def _write(self, model: Any) -> None:
        # Without durations and batch sizes: equal trainings write equal checkpoints.
        fields = ("number", "loss", "metrics", "learning_rate", "validated")
        artifacts.save(
            self.path,
            "checkpoint",
            {
                "model": model.name,
                "hyperparameters": model.hyperparameters(),
                "state": model.training_state(),
                "callbacks": [callback.state() for callback in self.followed],
                "epochs": [{field_name: getattr(epoch, field_name) for field_name in fields} for epoch in self._epochs],
            },
        )


def load_checkpoint(path: Path, model: Any) -> dict[str, Any]:
    """Read the checkpoint of a training.

    Args:
        path: Its file.
        model: The model that is to be trained further; it is not changed.

    Raises:
        ArtifactError: The checkpoint is damaged, or belongs to another model.
    """
    content: dict[str, Any] = artifacts.load(path, "checkpoint")
    # Weights of other hyperparameters may have the same shapes. Without this check, training would continue with them.
    expected = {"model": model.name, "hyperparameters": model.hyperparameters()}
    if {checked_key: content.get(checked_key) for checked_key in expected} != expected:
        raise ArtifactError(
            f"{path}: the checkpoint of another model or of other hyperparameters; "
            "remove it to start from the first epoch"
        )
    return content
