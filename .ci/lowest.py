"""Print pip constraints that pin every direct dependency to the lowest version pyproject.toml allows.

torch is left out: its CPU build exists for few versions, and other builds bring gigabytes of CUDA libraries.
`.ci/wheel` pins it to the version in constraints.txt. Indirect dependencies stay free: pip takes the newest that fit.
"""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = [name for name in project["optional-dependencies"] if name not in ("all", "dev", "docs")]
requirements = [*project["dependencies"], *(line for name in extras for line in project["optional-dependencies"][name])]
for requirement in requirements:
    match = re.fullmatch(r"([\w.-]+)(\[[\w,]+\])?>=([\w.]+)", requirement)
    if match is None:
        raise SystemExit(f"pyproject.toml: {requirement}: write it as NAME>=VERSION")
    if match[1] != "torch":
        print(f"{match[1]}=={match[3]}")
