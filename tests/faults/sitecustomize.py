"""Loads the hook into a process that is not forked; Python imports this at startup if the folder is in PYTHONPATH."""

from pathlib import Path
from runpy import run_path

run_path(str(Path(__file__).with_name("hook.py")))["load"]()
