"""Whether this program runs in a notebook."""

from __future__ import annotations

import os
import sys
from typing import Any


def kernel_shell() -> Any:
    """The IPython shell of a kernel (Jupyter, VS Code, Colab, nbclient); None anywhere else, as in IPython's terminal.

    IPython is not imported: in a kernel it is.
    """
    ipython = sys.modules.get("IPython")
    if ipython is None:
        return None
    shell = ipython.get_ipython()
    return shell if hasattr(shell, "kernel") else None


def is_started_by_notebook() -> bool:
    """Whether a cell of a notebook started this process, such as `!recctl train`.

    IPython runs such commands in a pseudoterminal of 80 columns, so that `isatty` holds, but front ends append each
    frame of an animation to the output. Jupyter sets JPY_PARENT_PID for kernels, which their commands inherit. For
    kernels started otherwise, as by VS Code, these are the variables that IPython's kernel sets for its commands.
    """
    if "JPY_PARENT_PID" in os.environ:
        return True
    has_no_pager = os.environ.get("PAGER") == "cat" and os.environ.get("GIT_PAGER") == "cat"
    return has_no_pager and os.environ.get("TERM") == "xterm-color"
