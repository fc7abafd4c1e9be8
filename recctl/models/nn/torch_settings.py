"""The settings of torch that a program can change and that networks depend on. Torch is imported when it is used."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from recctl import engines


@contextmanager
def usual_settings(device_type: str = "cpu") -> Iterator[None]:
    """A context with the gradients, device and number format that torch has unless a program changes them.

    A fit must not depend on a `torch.no_grad()` or `torch.set_default_device()` around it. These settings belong to
    the thread. The default number format belongs to the process, which is why it is not changed here: networks name
    the number format of their tensors.

    Args:
        device_type: Type of the device that is used: `cpu`, `cuda` or `mps`.
    """
    import torch

    engines.limit_torch_after_fork()
    with ExitStack() as settings:
        settings.enter_context(torch.inference_mode(False))
        settings.enter_context(torch.enable_grad())
        # Entered only where it differs: the context makes every call of torch slower.
        if torch.get_default_device().type != "cpu":
            settings.enter_context(torch.device("cpu"))
        if torch.is_autocast_enabled(device_type):
            settings.enter_context(torch.autocast(device_type, enabled=False))
        yield
