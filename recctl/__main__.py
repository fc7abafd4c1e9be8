"""`python -m recctl` is `recctl`."""

from recctl.cli import main

main()
