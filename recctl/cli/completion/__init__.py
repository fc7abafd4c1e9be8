"""Completion of the command line in bash, zsh and fish.

A shell runs `recctl` at every press of Tab and waits for it: 0.3 s are felt. Importing Typer takes longer than that,
therefore what can be typed stands in a file, `index.json`, which `make docs` writes (`recctl.cli.completion.build`);
runs, aliases and plug-ins are read from their folders. Nothing here imports more than the standard library.
"""

from recctl.cli.completion.shells import answer, install_or_show

__all__ = ["answer", "install_or_show"]
