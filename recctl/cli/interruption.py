"""Ctrl-C and SIGTERM end a command at any moment, with exit code 130.

Python's own handler raises KeyboardInterrupt in the main thread the next time that it runs Python code, which lets a
command clean up and record that its run was interrupted. That alone isn't enough:

- C code drops exceptions of its callbacks; LLVM, for example, looks for compiled kernels by one. `_Interruption` is
  raised again whenever it was dropped.
- C code may not return for a long time. A thread then ends the process.
- Importing packages in C may turn the exception into another one or abort. As nothing has begun that could be left
  half done, the process ends at once.

The second Ctrl-C ends the process at once, too. Runs survive that: they are shown as died and can be resumed.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from enum import Enum
from time import monotonic, sleep

# Without typing and other packages that take milliseconds to import: until `install`, Ctrl-C prints a traceback.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

EXIT_CODE = 130

_FOLDER = os.path.dirname(__file__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# How long C code may take to return, and how long a command may clean up.
_SECONDS_TO_NOTICE = 2.0
_SECONDS_TO_CLEAN_UP = 10.0
# A terminal and a parent process may both send the signal of one Ctrl-C.
_SECONDS_BETWEEN_KEYS = 0.5
_SECONDS_TO_RAISE_AGAIN = 0.02
_SECONDS_TO_READ = 0.1
# Progress bars hide the cursor of the terminal.
_SHOW_CURSOR = b"\x1b[?25h"


class _Phase(Enum):
    STARTING = "nothing can be left half done"
    RUNNING = "a command runs, and may have to clean up"
    ENDING = "the command has ended, and its output is written"


class _State:
    def __init__(self) -> None:
        self.is_installed = False
        self.is_requested = False
        self.is_signalled = False
        self.phase = _Phase.STARTING
        self.pipe = -1


_state = _State()


class _Interruption(KeyboardInterrupt):
    """A KeyboardInterrupt that can't get lost: it is raised again if it was dropped while the command runs.

    As a subclass it also leaves the exit code alone: Python exits by SIGINT if a plain KeyboardInterrupt ever left
    `exec`, by which data classes are made, even if it was caught.
    """

    def __del__(self) -> None:
        if _state.phase is _Phase.RUNNING and hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, _SECONDS_TO_RAISE_AGAIN)


def install() -> None:
    """Handle the signals of this process, from now to its end. Signals that are ignored, as under nohup, stay so."""
    _state.phase = _Phase.STARTING
    if _state.is_installed:
        return
    _state.is_installed = True
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _handle)
    if os.name != "posix":
        return
    import threading

    signal.signal(signal.SIGALRM, _raise_again)
    sys.unraisablehook = _without_interruptions(sys.unraisablehook)
    # Python's handlers run in the main thread between two steps of Python code. Signals are also written to this pipe,
    # immediately.
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    _state.pipe = writer
    _use_pipe()
    # A process that is forked must not write to the pipe of this one.
    os.register_at_fork(before=_leave_pipe, after_in_parent=_use_pipe, after_in_child=_restore_defaults)
    threading.Thread(target=_watch, args=(reader,), name="recctl-interruption", daemon=True).start()


class Running:
    """A context in which a command runs, so that it may have to clean up if it is interrupted."""

    def __enter__(self) -> None:
        _state.phase = _Phase.RUNNING

    def __exit__(self, *_: object) -> None:
        _state.phase = _Phase.ENDING


def is_requested() -> bool:
    """Whether the command was interrupted, whatever became of the exception."""
    return _state.is_requested


def was_signalled() -> bool:
    """Whether a signal has arrived, also if another package handled it."""
    sleep(_SECONDS_TO_READ)  # the thread that reads the pipe may not have run since
    return _state.is_signalled


def _handle(number: int, frame: FrameType | None) -> None:
    if _state.phase is _Phase.STARTING or (_state.phase is _Phase.RUNNING and _is_loading(frame)):
        _exit()
    is_first = not _state.is_requested
    _state.is_requested = True
    # While a command cleans up, the thread counts further signals.
    if is_first and _state.phase is _Phase.RUNNING:
        raise _Interruption


def _raise_again(number: int, frame: FrameType | None) -> None:
    if _state.phase is _Phase.RUNNING:
        raise _Interruption


def _without_interruptions(report: Callable[[sys.UnraisableHookArgs], object]) -> Callable[..., None]:
    """Wrap the function that prints exceptions which can't be raised: an interruption is raised again instead."""

    def report_others(dropped: sys.UnraisableHookArgs) -> None:
        if not isinstance(dropped.exc_value, _Interruption):
            report(dropped)

    return report_others


def _is_loading(frame: FrameType | None) -> bool:
    """Whether a module of the command line is importing what its command needs."""
    importer: FrameType | None = None
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            importer = frame.f_back
        frame = frame.f_back
    # The outermost import: a run that has begun may import more.
    return importer is not None and importer.f_code.co_filename.startswith(_FOLDER)


def _watch(reader: int) -> None:
    """End the process if the main thread doesn't."""
    while not _contains_signal(os.read(reader, 1000)):
        pass
    _state.is_signalled = True
    begin = monotonic()
    while True:
        allowed = _SECONDS_TO_CLEAN_UP if _state.is_requested else _SECONDS_TO_NOTICE
        seconds = monotonic() - begin
        if seconds > allowed:
            _exit()
        if select.select([reader], [], [], 0.1)[0]:
            is_repeated = _contains_signal(os.read(reader, 1000))
            if is_repeated and seconds > _SECONDS_BETWEEN_KEYS:
                _exit()


def _contains_signal(numbers: bytes) -> bool:
    return any(number in numbers for number in _SIGNALS)


def _exit() -> NoReturn:
    """End the process without cleaning up, after what `recctl.cli` reports at an interruption."""
    try:
        if os.isatty(2):
            os.write(2, _SHOW_CURSOR)
        os.write(2, b"interrupted\n")
        os.write(1, _document_text().encode())
    finally:
        os._exit(EXIT_CODE)


def _document_text() -> str:
    try:
        from recctl.cli import document

        if document.has_begun():
            document.set_failure("interrupted", EXIT_CODE, ["interrupted"])
            return document.take_text()
    except (ImportError, AttributeError):  # the module is just being imported
        pass
    if "--json" in sys.argv:
        return '{"status": "interrupted", "exit_code": 130, "errors": ["interrupted"]}\n'
    return ""


def _use_pipe() -> None:
    if _in_main_thread():
        signal.set_wakeup_fd(_state.pipe, warn_on_full_buffer=False)


def _leave_pipe() -> None:
    if _in_main_thread():
        signal.set_wakeup_fd(-1)


def _in_main_thread() -> bool:
    """Whether the handling of signals may be changed."""
    import threading

    return threading.current_thread() is threading.main_thread()


def _restore_defaults() -> None:
    """Let a process that was forked end as Python's processes do."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
