"""Trainer of a network: weights and gradients as two flat tensors, and one optimizer step over all of them.

Imports torch, so `torch_recommender` imports it only to train.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, closing, nullcontext
from copy import copy
from itertools import islice
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from torch import distributed

from recctl import progress, rng
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array
from recctl.engines import torch_distributed, torch_threads
from recctl.errors import ArtifactError, TrainingError
from recctl.models.nn import batches, devices, dropout, flat_weights
from recctl.models.nn.adam import Adam
from recctl.models.nn.torch_settings import usual_settings

# Below this number of embedding values per batch, threads wait for each other longer than they save.
_SMALL_BATCH = 1 << 13
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}
# The largest block that glibc's malloc adapts its thresholds to is 32 MB, with its header.
_MALLOC_BYTES = (32 << 20) - (64 << 10)


# Epochs of networks that are fitted in several threads take turns. Computed at the same time, with the same number of
# threads and the same draws, about one fit of NCF in fifty differed in the last digits, in torch's operations.
_epoch_lock = threading.RLock()


def _reset_epoch_lock() -> None:
    """In a forked process, forget the thread of the parent that held the lock."""
    global _epoch_lock
    _epoch_lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset_epoch_lock)

_FORKED = (
    "a process that was forked from one that uses the GPU cannot train a network; start processes by 'spawn' "
    "(multiprocessing.get_context('spawn'))"
)


class TrainableModel(Protocol):
    """What the trainer needs of a model; `TorchRecommender` implements it."""

    name: ClassVar[str]
    too_large_advice: ClassVar[str]
    device: Any
    precision: Any
    schedule: Any
    embedding_dim: int
    batch_size: int
    accumulation_steps: int
    learning_rate: float
    warmup_epochs: float
    max_grad_norm: float
    seed: int
    weights: Float32Array

    def _new_network(self) -> torch.nn.Module: ...

    def _optimizer(self, parameter: torch.nn.Parameter) -> torch.optim.Optimizer | Adam: ...

    def _before_epoch(self, network: torch.nn.Module, epoch: int) -> None: ...

    def _batches(self, interactions: InteractionDataset, epoch: int, batch_size: int) -> Iterator[Any]: ...

    def _n_batches(self, interactions: InteractionDataset, batch_size: int) -> int: ...

    def _loss(self, network: torch.nn.Module, batch: Any) -> tuple[torch.Tensor, int]: ...

    def learning_rate_at(self, epoch: float) -> float:
        """The learning rate at a point of training, in epochs."""
        ...

    def training_state(self) -> dict[str, Any]:
        """A copy of everything that the following epochs depend on."""
        ...


class Trainer:
    """Network, optimizer and batch sizes of a model in training.

    With several processes (torchrun), a batch is split into one part per process, and the gradients are summed. The
    result equals that of one process, except for rounding and dropout. If one process leads the others
    (`recctl.engines.torch_distributed`), it announces every epoch to them, with the state they need at first.

    Args:
        model: The model, with weights.

    Attributes:
        optimizer: The model's optimizer of all weights.
        network: The network. Its parameters are views of the model's weights, on a GPU of a copy of them.
        device: Device of the network.
        batch_size: Examples that are computed together: fewer than the model's after running out of memory.
        accumulation: Number of such batches per step.
        is_new: Whether the optimizer has made no step yet.
    """

    def __init__(self, model: TrainableModel) -> None:
        self.model = model
        self.rank, self.world_size = torch_distributed.group_rank()
        self._workers_have_state = False
        self.is_new = True
        # Whether the model's weights are older than those on the device. They are copied when they are read.
        self._host_is_stale = False
        self.device = devices.select(model.name, model.device, model.precision)
        if self.device.type == "cuda" and torch.cuda._is_in_bad_fork():
            raise TrainingError(f"{model.name}: {_FORKED}")
        self.network = model._new_network().to(self.device)
        dropout.use_own_dropout(self.network)
        flat_weights.require_weight_count(model.name, flat_weights.shapes(self.network), model.weights)
        self._flat = torch.from_numpy(model.weights).to(self.device)
        flat_weights.use(self._flat, self.network)
        n_parameters = sum(parameter.numel() for parameter in self.network.parameters())
        self._parameter = torch.nn.Parameter(self._flat[:n_parameters])
        self._gradient = torch.zeros_like(self._parameter)
        self._parameter.grad = self._gradient
        self._use_flat_gradient()
        self.optimizer: Any = model._optimizer(self._parameter)
        self._autocast_dtype = _autocast_dtype(model.precision, self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._autocast_dtype == torch.float16)
        self.batch_size = max(1, -(-model.batch_size // self.world_size))
        self.accumulation = model.accumulation_steps * self.world_size
        # Draws of dropout; seeded for each epoch.
        self._generator = torch.Generator(self.device)
        if self.device.type == "cpu":
            _keep_freed_memory()

    def _use_flat_gradient(self) -> None:
        """Make the gradient of every parameter a view of the flat gradient."""
        begin = 0
        for parameter in self.network.parameters():
            parameter.grad = self._gradient[begin : begin + parameter.numel()].view_as(parameter)
            begin += parameter.numel()

    # ---- epochs

    def announce(self, epoch: int) -> None:
        """Tell the workers, if this process leads any, to compute this epoch."""
        if torch_distributed.is_leader():
            state = None if self._workers_have_state else self.model.training_state()
            torch_distributed.send({"epoch": epoch, "state": state})
            self._workers_have_state = True

    def run_epoch(self, interactions: InteractionDataset, epoch: int) -> float:
        """Train on all batches of an epoch (from 0); returns the mean loss."""
        self.is_new = False
        is_small = self.batch_size * self.model.embedding_dim < _SMALL_BATCH
        self._generator.manual_seed(int(rng.stream(self.model.seed, "dropout", epoch).integers(2**63)))
        with (
            _epoch_lock,
            torch_threads(1 if is_small else None),
            usual_settings(self.device.type),
            dropout.drawing_from(self._generator, self.network),
        ):
            self.network.train()
            self.model._before_epoch(self.network, epoch)
            losses, count = self._run_steps(interactions, epoch)
            self.network.eval()
        self._host_is_stale = self.device.type != "cpu"
        if not losses:
            return 0.0
        return float(torch.stack(losses).cpu().double().sum()) / max(1, count)

    def _run_steps(self, interactions: InteractionDataset, epoch: int) -> tuple[list[torch.Tensor], int]:
        """Loss sums of the steps, and the number of examples; continues with smaller batches if out of memory."""
        losses: list[torch.Tensor] = []
        count = 0
        while True:
            try:
                with closing(self._batch_groups(interactions, epoch, len(losses))) as groups:
                    for group in groups:
                        self._set_learning_rate(interactions, epoch, len(losses))
                        loss, n_examples = self._step(group)
                        losses.append(loss)
                        count += n_examples
                return losses, count
            except (RuntimeError, MemoryError) as error:
                self._shrink_batch(error)

    def _batch_groups(self, interactions: InteractionDataset, epoch: int, n_steps: int) -> Generator[list[Any]]:
        """The batches of each step, after the first `n_steps` steps."""
        made = iter(self.model._batches(interactions, epoch, self.batch_size))
        for _ in islice(made, n_steps * self.accumulation):
            pass
        if self.device.type != "cpu":
            made = batches.prefetched(made, self.device)
        while group := list(islice(made, self.accumulation)):
            yield group

    def _set_learning_rate(self, interactions: InteractionDataset, epoch: int, step: int) -> None:
        if self.model.schedule == "constant" and epoch >= self.model.warmup_epochs:
            learning_rate = self.model.learning_rate
        else:
            n_steps = -(-self.model._n_batches(interactions, self.batch_size) // self.accumulation)
            learning_rate = self.model.learning_rate_at(epoch + (step + 1) / max(n_steps, step + 1))
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate

    def _step(self, group: list[Any]) -> tuple[torch.Tensor, int]:
        """One optimizer step from some batches; returns the sum of their losses, and the number of examples."""
        self._gradient.zero_()
        total = torch.zeros((), device=self.device, dtype=torch.float32)
        count = 0
        # Losses are divided by the examples of the first batch, so that float16 gradients keep their scale.
        divisor = 0
        for batch in group[self.rank :: self.world_size]:
            batch = batches.to_device(batch, self.device)
            with self._autocast():
                loss, n_examples = self.model._loss(self.network, batch)
            divisor = divisor or max(1, n_examples)
            self._scaler.scale(loss / divisor).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            count += n_examples
        if self.world_size > 1:
            total, count = self._sum_over_processes(total, count, divisor)
            divisor = 1
        if count not in (0, divisor):
            self._gradient.mul_(divisor / count)
        if self.model.max_grad_norm:
            self._scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_([self._parameter], self.model.max_grad_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return total, count

    def _sum_over_processes(self, total: torch.Tensor, count: int, divisor: int) -> tuple[torch.Tensor, int]:
        """Sum the gradients, losses and examples of all processes; the gradient is then that of the sum of losses."""
        sums = torch.tensor([float(total), float(count)], dtype=torch.float64)
        self._gradient.mul_(max(1, divisor))
        distributed.all_reduce(self._gradient)
        distributed.all_reduce(sums)
        return sums[0].to(total), int(sums[1])

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._autocast_dtype is None:
            return nullcontext()
        # Inside of another autocast, torch would keep the converted weights of earlier steps.
        torch.clear_autocast_cache()
        return torch.autocast(self.device.type, self._autocast_dtype)

    def _shrink_batch(self, error: BaseException) -> None:
        """After running out of memory: halve the batches, and double their number per step.

        Raises:
            TrainingError: The batch is a single example, or there are several processes.
            BaseException: `error` itself, if it has another cause.
        """
        name = self.model.name
        out_of_memory = devices.is_out_of_memory(error)
        if self.world_size > 1:
            reason = _lost_process(error)
            if out_of_memory:
                reason = f"out of memory; lower batch_size, which is {self.model.batch_size}"
            raise TrainingError(f"{name}: process {self.rank} of {self.world_size}: {reason}") from error
        if "Autograd-and-Fork" in str(error):
            # The threads of torch that use a GPU, and then also the CPU's backward pass, do not survive a fork.
            raise TrainingError(f"{name}: {_FORKED}") from error
        if not out_of_memory:
            raise error
        if self.batch_size == 1:
            raise TrainingError(
                f"{name}: out of memory with one example at a time; {self.model.too_large_advice}"
            ) from error
        self.batch_size = -(-self.batch_size // 2)
        self.accumulation *= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        progress.notice(
            f"{name}: out of memory; continuing with batches of {self.batch_size}, {self.accumulation} per step"
        )

    # ---- state

    def to_host(self) -> None:
        """Copy the weights from the device to the model, unless they are the same."""
        if self._host_is_stale:
            self._host_is_stale = False
            np.copyto(self.model.weights, self._flat.detach().cpu().numpy())

    def to_device(self) -> None:
        """Copy the model's weights to the device; on a CPU they are the same memory."""
        self._workers_have_state = False
        self._host_is_stale = False
        if self.device.type != "cpu":
            self._flat.copy_(torch.from_numpy(self.model.weights))

    def undo(self) -> Callable[[], None]:
        """A function that restores the present weights on the device, and starts a new optimizer."""
        weights = self._flat.clone()

        def restore_weights() -> None:
            self._flat.copy_(weights)
            self._host_is_stale = True
            self.restart_optimizer()

        return restore_weights

    def state(self) -> dict[str, Any]:
        """A copy of everything, except the weights, that the following steps depend on."""
        state = self._plain_state()
        optimizer_state = {name: copy(value) for name, value in state["optimizer"].items()}
        return state | {"optimizer": optimizer_state}

    def release(self) -> dict[str, Any] | None:
        """The state at the end of training, not copied, as the trainer ends; None before the first step."""
        return None if self.is_new else self._plain_state()

    def _plain_state(self) -> dict[str, Any]:
        """The state; on a CPU, its arrays are those of the optimizer."""
        optimizer_state = self.optimizer.state_dict()["state"].get(0, {})
        return {
            "optimizer": {name: _to_plain(value) for name, value in optimizer_state.items()},
            "batch_size": self.batch_size,
            "accumulation": self.accumulation,
            "loss_scale": float(self._scaler.get_scale()),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restore a result of `state`."""
        self._workers_have_state = False
        for name, value in state["optimizer"].items():
            if isinstance(value, np.ndarray) and value.ndim and value.size != self._parameter.numel():
                raise ArtifactError(
                    f"{self.model.name}: the training state has {value.size:,} values of {name}, but the network of "
                    f"these hyperparameters has {self._parameter.numel():,} weights"
                )
        self.is_new = not state["optimizer"]
        # Tensors that are made in torch's inference mode cannot be trained with.
        with usual_settings(self.device.type):
            self._set_optimizer_state({name: _from_plain(value) for name, value in state["optimizer"].items()})
        self.batch_size = state["batch_size"]
        self.accumulation = state["accumulation"]
        if self._scaler.is_enabled():
            self._scaler.load_state_dict(self._scaler.state_dict() | {"scale": state["loss_scale"]})

    def restart_optimizer(self) -> None:
        """Forget the steps of the optimizer."""
        self._workers_have_state = False
        self.is_new = True
        self._set_optimizer_state({})

    def _set_optimizer_state(self, optimizer_state: dict[str, Any]) -> None:
        content = self.optimizer.state_dict()
        content["state"] = {0: optimizer_state} if optimizer_state else {}
        self.optimizer.load_state_dict(content)


def _autocast_dtype(precision: str, device: torch.device) -> torch.dtype | None:
    """The type for autocast; None to compute in float32."""
    if precision == "auto":
        supported = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if supported else None
    return _DTYPES.get(precision)


def _keep_freed_memory() -> None:
    """Make malloc keep the memory of freed tensors for the next ones.

    By default glibc returns freed blocks of some 100 kB to the system, and every page of the next block faults: 400
    page faults per step of NCF, 6 % of its time. Freeing one block of 32 MB raises glibc's thresholds.
    """
    torch.empty(_MALLOC_BYTES, dtype=torch.uint8)


def _lost_process(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    reason = lines[0] if lines else type(error).__name__
    return f"another process may be lost: {reason}; start all of them again to continue"


def _to_plain(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else value


def _from_plain(value: Any) -> Any:
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
