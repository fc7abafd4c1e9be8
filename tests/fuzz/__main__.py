"""Let atheris make up bytes for every reader: `python -m tests.fuzz [SECONDS [TARGET...]]`, a minute each unless told.

Findings are left as files below `build/fuzz/`, and `python -m tests.fuzz --again TARGET FILE` feeds one again. An input
worth keeping goes to `corpus/TARGET/`.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

_FOUND = Path("build/fuzz")


def main(arguments: list[str]) -> int:
    """Fuzz; the exit code says whether something was found."""
    if arguments[:1] == ["--again"]:
        from tests.fuzz.targets import feed

        feed(arguments[1], Path(arguments[2]).read_bytes())
        return 0
    if find_spec("atheris") is None:
        print("nothing is fuzzed: atheris is not installed here; pip install atheris (it is for Linux on x86-64)")
        return 0
    if arguments[:1] == ["--one"]:
        _fuzz(arguments[1], arguments[2])
        return 0
    from tests.fuzz.targets import TARGETS

    seconds, *names = arguments or ["60"]
    found = []
    for name in names or TARGETS:
        print(f"{name}: {seconds} s", flush=True)
        if subprocess.run([sys.executable, "-m", "tests.fuzz", "--one", name, seconds], check=False).returncode:
            found.append(name)
    print(f"findings in {', '.join(found)}; the inputs are below {_FOUND}" if found else "nothing found")
    return int(bool(found))


def _fuzz(name: str, seconds: str) -> None:
    import atheris

    import tests.fuzz.compiled  # noqa: F401

    with atheris.instrument_imports(include=["recctl", "yaml", "zipfile", "json"]):
        from tests.fuzz.targets import MEGABYTES, SECONDS, corpus_of, feed

    made = _FOUND / name
    grown = made / "corpus"
    grown.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SECONDS:.0f}",
        f"-malloc_limit_mb={MEGABYTES}",
        "-rss_limit_mb=4096",  # what is imported and instrumented included
        f"-artifact_prefix={made}/",
        "-max_len=4096",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(grown), str(corpus_of(name))], lambda data: feed(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
