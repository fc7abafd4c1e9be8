"""A network under training: weights and gradients as two flat tensors, one optimiser step over all of them.

Imported by `_torch` when there is something to train; this module imports torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import distributed

from recctl import progress, rng
from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import Float32Array
from recctl.engines import torch_distributed, torch_threads
from recctl.errors import ArtifactError, ConfigError, TrainingError

if TYPE_CHECKING:
    from recctl.models.nn.torch_recommender import TorchRecommender

_LINE = 64
_MALLOC_BYTES = (32 << 20) - (64 << 10)
# Numbers in the vectors of a batch below which threads cost more, in waiting for each other, than they gain.
_SMALL = 1 << 13
_TYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Trainer:
    """What training of a model holds beside its weights.

    In each of several processes (torchrun) a step's batch is cut into as many parts as there are processes, each
    computes one, and gradients are summed: the result is that of one process, rounding aside, without dropout. Where
    one leads (`recctl.engines.torch_distributed`), it tells the others of each epoch, and what they can't know to begin
    with.

    Attributes:
        optimizer: That of the model, of all weights.
        network: The network; its parameters are views of the model's weights, on a GPU of a copy of them.
        device: Where it is.
        batch_size: What is computed at once: the model's, unless memory ran out.
        accumulation: How many of these make a step.
    """

    def __init__(self, model: TorchRecommender) -> None:
        self.model = model
        self.rank, self.world = torch_distributed.group_rank()
        self._in_step = False  # whether the others have the same weights and moments
        self.device = check_device(model.name, model.device, model.precision, self.rank)
        self.network = model._network().to(self.device)
        _check_weight_count(model, self.network)
        self._flat = torch.from_numpy(model.weights).to(self.device)
        n_parameters = self._place(self.network)
        self._parameter = torch.nn.Parameter(self._flat[:n_parameters])
        self._gradient = torch.zeros_like(self._parameter)
        self._parameter.grad = self._gradient
        at = 0
        for parameter in self.network.parameters():
            parameter.grad = self._gradient[at : at + parameter.numel()].view_as(parameter)
            at += parameter.numel()
        self.optimizer: Any = model._optimizer(self._parameter)
        self._type = _computed_in(model.precision, self.device)
        self._scaler = torch.amp.GradScaler(self.device.type, enabled=self._type == torch.float16)
        if self.device.type == "cpu":
            _keep_freed_memory()
        self.batch_size = max(1, -(-model.batch_size // self.world))
        self.accumulation = model.accumulation_steps * self.world

    @property
    def computes_float32_on_cpu(self) -> bool:
        """Whether kernels may do what torch does."""
        return self.device.type == "cpu" and self._type is None

    def _place(self, network: torch.nn.Module) -> int:
        """Make every weight a view of the flat tensor; returns how many are parameters."""
        at = 0
        for _, weight in named_weights(network):
            weight.data = self._flat[at : at + weight.numel()].view(weight.shape)
            at += weight.numel()
        return sum(parameter.numel() for parameter in network.parameters())

    # ---- epochs

    def announce(self, epoch: int) -> None:
        """Tell those who are led that this epoch begins."""
        if torch_distributed.is_leader():
            torch_distributed.send({"epoch": epoch, "state": None if self._in_step else self.model.training_state()})
            self._in_step = True

    def epoch(self, interactions: InteractionDataset, epoch: int) -> float:
        """Go through the batches of an epoch (from 0); returns the mean loss."""
        devices = [self.device] if self.device.type == "cuda" else []
        # Dropout draws from torch's own state: seeded for this epoch alone, and put back.
        one = self.model._uses_own_threads or self.batch_size * self.model.embedding_dim < _SMALL
        with torch_threads(1 if one else None), torch.random.fork_rng(devices):
            torch.manual_seed(int(rng.stream(self.model.seed, "dropout", epoch).integers(2**63)))
            self.network.train()
            self.model._before_epoch(self.network, epoch)
            losses: list[torch.Tensor] = []
            count, n_steps = 0, 0
            while True:
                try:
                    for group in self._groups(interactions, epoch, n_steps):
                        self._set_rate(interactions, epoch, n_steps)
                        loss, n = self._step(group)
                        losses.append(loss)
                        count, n_steps = count + n, n_steps + 1
                    break
                except (RuntimeError, MemoryError) as error:
                    self._shrink_batch(error)
            self.network.eval()
        if self.device.type != "cpu":
            self.to_device()
        return float(torch.stack(losses).cpu().double().sum()) / max(1, count) if losses else 0.0

    def _groups(self, interactions: InteractionDataset, epoch: int, done: int) -> Iterator[list[Any]]:
        """The batches of each step, after `done` of them."""
        batches = iter(self.model._batches(interactions, epoch, self.batch_size))
        for _ in islice(batches, done * self.accumulation):
            pass
        while group := list(islice(batches, self.accumulation)):
            yield group

    def _set_rate(self, interactions: InteractionDataset, epoch: int, step: int) -> None:
        if self.model.schedule == "constant" and epoch >= self.model.warmup_epochs:
            rate = self.model.learning_rate
        else:
            n_steps = -(-self.model._n_batches(interactions, self.batch_size) // self.accumulation)
            rate = self.model.learning_rate_at(epoch + (step + 1) / max(n_steps, step + 1))
        for group in self.optimizer.param_groups:
            group["lr"] = rate

    def _step(self, group: list[Any]) -> tuple[torch.Tensor, int]:
        """One step from the gradients of some batches; the sum of their losses, and how many they are."""
        self._gradient.zero_()
        total = torch.zeros((), device=self.device)
        count, unit = 0, 0
        for batch in group[self.rank :: self.world]:
            with self._cast():
                loss, n = self.model._loss(self.network, batch)
            unit = unit or max(1, n)
            self._scaler.scale(loss / unit).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
            count += n
        if self.world > 1:
            total, count, unit = self._sum_over_processes(total, count, unit)
        if count not in (0, unit):
            self._gradient.mul_(unit / count)
        if self.model.max_grad_norm:
            self._scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_([self._parameter], self.model.max_grad_norm)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return total, count

    def _sum_over_processes(self, total: torch.Tensor, count: int, unit: int) -> tuple[torch.Tensor, int, int]:
        sums = torch.tensor([float(total), float(count)], dtype=torch.float64)
        self._gradient.mul_(max(1, unit))
        distributed.all_reduce(self._gradient)
        distributed.all_reduce(sums)
        return sums[0].to(total), int(sums[1]), 1

    def _cast(self) -> AbstractContextManager[Any]:
        if self._type is None:
            return nullcontext()
        return torch.autocast(self.device.type, self._type)

    def _shrink_batch(self, error: BaseException) -> None:
        """After running out of memory: smaller batches, more of them a step.

        Raises:
            TrainingError: They can't be smaller.
            BaseException: It was something else.
        """
        out = isinstance(error, MemoryError | torch.OutOfMemoryError) or _is_out_of_memory_on_cpu(error)
        if self.world > 1:
            name = self.model.name
            why = f"out of memory; lower batch_size, which is {self.model.batch_size}" if out else _lost(error)
            raise TrainingError(f"{name}: process {self.rank} of {self.world}: {why}") from error
        if not out:
            raise error
        if self.batch_size == 1:
            raise TrainingError(
                f"{self.model.name}: out of memory with one example at a time; {self.model.too_large_advice}"
            ) from error
        self.batch_size, self.accumulation = -(-self.batch_size // 2), 2 * self.accumulation
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        progress.notice(
            f"{self.model.name}: out of memory; going on with batches of {self.batch_size}, {self.accumulation} a step"
        )

    # ---- states

    def to_device(self) -> None:
        """Give the model the weights of the device."""
        np.copyto(self.model.weights, self._flat.detach().cpu().numpy())

    def to_host(self) -> None:
        """Take the model's weights to the device; on a CPU they are the same memory."""
        self._in_step = False
        if self.device.type != "cpu":
            self._flat.copy_(torch.from_numpy(self.model.weights))

    def state(self) -> dict[str, Any]:
        """All that further steps depend on beside the weights, copied."""
        kept = self.optimizer.state_dict()["state"].get(0, {})
        return {
            "optimizer": {name: _to_plain(value) for name, value in kept.items()},
            "batch_size": self.batch_size,
            "accumulation": self.accumulation,
            "loss_scale": float(self._scaler.get_scale()),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Be as `state` says."""
        self._in_step = False
        own = self.optimizer.state_dict()
        kept = {name: _from_plain(value) for name, value in state["optimizer"].items()}
        self.optimizer.load_state_dict({**own, "state": {0: kept} if kept else {}})
        self.batch_size, self.accumulation = state["batch_size"], state["accumulation"]
        if self._scaler.is_enabled():
            self._scaler.load_state_dict({**self._scaler.state_dict(), "scale": state["loss_scale"]})


def named_weights(network: torch.nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    """Parameters, then persistent buffers, by name."""
    yield from network.named_parameters()
    kept = network.state_dict().keys()
    yield from ((name, buffer) for name, buffer in network.named_buffers() if name in kept)


def flattened(network: torch.nn.Module) -> Float32Array:
    """All weights of a network, one after another, copied."""
    weights = [weight.detach().reshape(-1).float().numpy() for _, weight in named_weights(network)]
    return aligned(np.concatenate(weights))


def aligned(array: Float32Array) -> Float32Array:
    """A copy that begins where a cache line does: elsewhere products may round otherwise, and runs must not differ."""
    room = np.empty(array.nbytes + _LINE, np.uint8)
    begin = -room.ctypes.data % _LINE
    copy = room[begin : begin + array.nbytes].view(np.float32)
    np.copyto(copy, array)
    return copy


def is_aligned(array: Float32Array) -> bool:
    """Whether an array is such, and may be written to."""
    return array.flags.writeable and array.ctypes.data % _LINE == 0


def named_views(model: TorchRecommender) -> dict[str, Float32Array]:
    """A model's weights by name, as views of its flat array."""
    network, views, at = model._network(), {}, 0
    _check_weight_count(model, network)
    for name, weight in named_weights(network):
        views[name] = model.weights[at : at + weight.numel()].reshape(tuple(weight.shape))
        at += weight.numel()
    return views


def _check_weight_count(model: TorchRecommender, network: torch.nn.Module) -> None:
    n_weights = sum(weight.numel() for _, weight in named_weights(network))
    if n_weights != len(model.weights):
        raise ArtifactError(
            f"{model.name}: {len(model.weights):,} weights, but the network of these hyperparameters has {n_weights:,}"
        )


def check_device(model: str, device: str, precision: str, rank: int = 0) -> torch.device:
    """The device that is meant.

    Raises:
        ConfigError: It is not there, or has no such precision.
    """
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        device = next(name for name in ("cuda", "mps", "cpu") if there[name])
    if not there[device]:
        raise ConfigError(f"{model}: device={device!r}: torch finds none here; device='auto' takes what there is")
    if precision == "float16" and device == "cpu":
        raise ConfigError(f"{model}: precision='float16' needs a GPU; on a CPU take 'bfloat16' or 'float32'")
    return torch.device(device, rank % torch.cuda.device_count()) if device == "cuda" else torch.device(device)


def _keep_freed_memory() -> None:
    """Let malloc keep the memory of freed tensors for the next ones.

    glibc returns a freed block of some 100 kB to the system, and every page of the next one faults anew: 400 faults a
    step of NCF, 6 % of its time. Freeing one block of 32 MB, the most that glibc adapts to, raises its thresholds.
    """
    torch.empty(_MALLOC_BYTES, dtype=torch.uint8)


def _computed_in(precision: str, device: torch.device) -> torch.dtype | None:
    if precision == "auto":
        fit = device.type == "cuda" and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fit else None
    return _TYPES.get(precision)


def _is_out_of_memory_on_cpu(error: BaseException) -> bool:
    """Whether torch's allocator of a CPU refused: a RuntimeError without a class of its own, known by its text only.

    A test checks the text against the torch that is installed.
    """
    return isinstance(error, RuntimeError) and "allocate memory" in str(error)


def _lost(error: BaseException) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return f"another may be lost: {reason}; start all of them again to go on"


def _to_plain(value: Any) -> Any:
    return value.detach().cpu().numpy().copy() if isinstance(value, torch.Tensor) else value


def _from_plain(value: Any) -> Any:
    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
