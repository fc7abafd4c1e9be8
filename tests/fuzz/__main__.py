"""Fuzz every reader with atheris: `python -m tests.fuzz [SECONDS [TARGET...]]`, by default each for a minute.

Findings are saved as files in `build/fuzz/`; `python -m tests.fuzz --again TARGET FILE` reproduces one. Add inputs
that are worth keeping to `corpus/TARGET/`.
"""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

_FINDINGS = Path("build/fuzz")


def main(arguments: list[str]) -> int:
    """Run the fuzzer; the exit code is 1 if there are findings."""
    if arguments[:1] == ["--again"]:
        from tests.fuzz.targets import feed

        feed(arguments[1], Path(arguments[2]).read_bytes())
        return 0
    if find_spec("atheris") is None:
        print("atheris is not installed, nothing to do; install it with pip install atheris (Linux on x86-64 only)")
        return 0
    if arguments[:1] == ["--one"]:
        _fuzz(arguments[1], arguments[2])
        return 0
    from tests.fuzz.targets import TARGETS

    seconds, *names = arguments or ["60"]
    failed = []
    for name in names or TARGETS:
        print(f"{name}: {seconds} s", flush=True)
        command = [sys.executable, "-m", "tests.fuzz", "--one", name, seconds]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"findings in {', '.join(failed)}; the inputs are in {_FINDINGS}")
        return 1
    print("no findings")
    return 0


def _fuzz(name: str, seconds: str) -> None:
    import atheris

    import tests.fuzz.compile_kernels  # noqa: F401

    with atheris.instrument_imports(include=["recctl", "yaml", "zipfile", "json"]):
        from tests.fuzz.targets import MEGABYTES, SECONDS, corpus_folder, feed

    folder = _FINDINGS / name
    new_corpus = folder / "corpus"
    new_corpus.mkdir(parents=True, exist_ok=True)
    options = [
        f"-max_total_time={seconds}",
        f"-timeout={SECONDS:.0f}",
        f"-malloc_limit_mb={MEGABYTES}",
        "-rss_limit_mb=4096",  # includes the imported and instrumented modules
        f"-artifact_prefix={folder}/",
        "-max_len=4096",
        "-verbosity=0",
        "-print_final_stats=1",
    ]
    options += [str(new_corpus), str(corpus_folder(name))]
    atheris.Setup([sys.argv[0], *options], lambda data: feed(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
