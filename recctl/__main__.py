"""Run the command line by `python -m recctl`."""

from recctl.cli import main

main()
