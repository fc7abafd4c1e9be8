"""Python imports this when it starts, if this folder is in PYTHONPATH: a real process is hurt as a forked one is."""

from pathlib import Path
from runpy import run_path

run_path(str(Path(__file__).with_name("hook.py")))["load"]()
