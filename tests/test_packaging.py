"""The built package, its metadata and the Dockerfile are complete and agree with each other."""

from __future__ import annotations

import re
import tarfile
import tomllib
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path
from zipfile import ZipFile

import pytest
import yaml

import recctl
from tests.conftest import skip_without

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PINNED_TORCH = re.search(r"^torch==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this version, as `pip` and `build` make it."""
    skip_without("hatchling", "pip install hatchling")
    from hatchling.builders.wheel import WheelBuilder

    folder = tmp_path_factory.mktemp("dist")
    return Path(next(WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])))


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return Parser().parsestr(archive.read(name).decode())


def test_wheel_has_the_configs_the_marker_of_types_and_every_module(wheel: Path) -> None:
    with ZipFile(wheel) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    assert "recctl/py.typed" in content
    configs = {path.name: path.read_bytes() for path in (ROOT / "configs").iterdir()}
    prefix = "recctl/configs/"
    assert {name.removeprefix(prefix): data for name, data in content.items() if name.startswith(prefix)} == configs
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "recctl").rglob("*.py")}
    assert {name for name in content if name.endswith(".py")} == modules
    assert {name.partition("/")[0] for name in content} == {"recctl", f"recctl-{recctl.__version__}.dist-info"}


def test_sdist_has_the_files_that_the_tests_read(tmp_path: Path) -> None:
    skip_without("hatchling", "pip install hatchling")
    from hatchling.builders.sdist import SdistBuilder

    with tarfile.open(next(SdistBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"]))) as archive:
        contained = {name.partition("/")[2] for name in archive.getnames()}
    tests = [path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py")]
    read = {name for text in tests for name in re.findall(r'\bROOT / "([^"]+)"', text)}
    assert {".github", "pyproject.toml", "docs"} <= read
    for name in (*read, ".ci/wheel", ".github/workflows/ci.yml"):
        assert any(file == name or file.startswith(f"{name}/") for file in contained), name


def test_wheel_passes_check_wheel_contents(wheel: Path) -> None:
    skip_without("check_wheel_contents", "pip install check-wheel-contents")
    from check_wheel_contents.checker import WheelChecker
    from check_wheel_contents.contents import WheelContents

    checker = WheelChecker()
    checker.configure_options()
    assert [str(check) for check in checker.check_contents(WheelContents.from_wheel(wheel))] == []


def test_wheel_passes_twine_check(wheel: Path) -> None:
    skip_without("twine", "pip install twine")
    from twine.commands.check import check

    assert not check([str(wheel)], strict=True)


def test_metadata_names_authors_links_and_python_versions(metadata: Message) -> None:
    assert metadata["Version"] == recctl.__version__
    assert metadata["Author"] == "The recctl developers"
    assert metadata["License-Expression"] == "MIT"
    links = dict(link.split(", ") for link in metadata.get_all("Project-URL", []))
    assert links["Source"] == "https://github.com/recctl/recctl"
    assert links["Documentation"] == "https://recctl.github.io/recctl/"
    classifiers = metadata.get_all("Classifier", [])
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert python_versions(classifiers)[0] == oldest
    assert metadata["Requires-Python"] == f">={oldest}"


def test_classifiers_are_those_of_the_index() -> None:
    skip_without("trove_classifiers", "pip install hatchling")
    from trove_classifiers import classifiers

    assert set(PROJECT["classifiers"]) <= set(classifiers)


def test_python_versions_of_the_classifiers_are_those_of_the_workflow() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    assert workflow["jobs"]["test"]["strategy"]["matrix"]["python"] == python_versions(PROJECT["classifiers"])


def python_versions(classifiers: list[str]) -> list[str]:
    """The minor versions of Python in classifiers."""
    return [
        match[1] for text in classifiers if (match := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", text))
    ]


# ---- the README on a package index


class Links(HTMLParser):
    """The targets of all links and images of a page, and the ids of its elements."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.ids: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name in ("href", "src"):
                self.targets.append(value or "")
            elif name == "id":
                self.ids.add(value or "")


def test_readme_renders_on_a_package_index_with_absolute_links() -> None:
    skip_without("readme_renderer", "pip install 'readme-renderer[md]'")
    from readme_renderer import markdown

    page = markdown.render((ROOT / "README.md").read_text(encoding="utf-8"))
    assert page is not None, "needs readme-renderer[md]"
    links = Links(page)
    assert links.targets
    relative = [target for target in links.targets if not target.startswith(("https://", "#"))]
    assert relative == [], "a package index has no files beside the README"


# ---- citation


def test_citation_has_the_version_and_the_links_of_the_package() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    # What version 1.2.0 of the Citation File Format requires.
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == recctl.__version__
    assert citation["license"] == PROJECT["license"]
    assert citation["repository-code"] == PROJECT["urls"]["Source"]
    assert citation["url"] == PROJECT["urls"]["Documentation"]
    assert [author["name"] for author in citation["authors"]] == [author["name"] for author in PROJECT["authors"]]


# ---- container image


def instructions() -> Iterator[tuple[str, str]]:
    """The instructions of the Dockerfile, each with its arguments in one line."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, arguments = line.partition(" ")
            yield name, " ".join(arguments.split())


def test_image_is_slim_and_has_a_tested_python_and_the_pinned_torch() -> None:
    bases = [arguments.split()[0] for name, arguments in instructions() if name == "FROM"]
    assert len(set(bases)) == 1
    match = re.fullmatch(r"python:(3\.\d+)-slim", bases[0])
    assert match is not None
    assert match[1] in python_versions(PROJECT["classifiers"])
    installing = next(arguments for name, arguments in instructions() if name == "RUN" and "torch" in arguments)
    assert '''"$(grep '^torch==' /tmp/constraints.txt)"''' in installing
    assert "--index-url" in installing
    # A CPU build of the version, such as 2.13.0+cpu, satisfies the pin only if the pin names no build.
    assert PINNED_TORCH is not None
    assert re.fullmatch(r"[\d.]+", PINNED_TORCH[1])


def test_image_compiles_kernels_and_runs_as_a_user_without_privileges() -> None:
    steps = list(instructions())
    users = [arguments for name, arguments in steps if name == "USER"]
    assert users == ["recctl"]
    assert steps.index(("USER", "recctl")) < steps.index(("RUN", "recctl warmup"))
    # Everything that needs root comes before; the entry point is started as the user.
    assert [name for name, _ in steps[steps.index(("USER", "recctl")) :]].count("RUN") == 1
    assert ("ENTRYPOINT", '["recctl"]') in steps


def test_files_that_the_image_copies_exist_and_reach_docker() -> None:
    copied = [
        source
        for name, arguments in instructions()
        if name == "COPY" and "--from" not in arguments
        for source in arguments.split()[:-1]
    ]
    assert {"recctl", "configs", "pyproject.toml", "constraints.txt"} <= set(copied)
    patterns = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    for source in copied:
        assert (ROOT / source).exists()
        ignored = False
        for pattern in patterns:  # the last that matches decides
            if fnmatch(source, pattern.removeprefix("!")):
                ignored = not pattern.startswith("!")
        assert not ignored, source


def test_image_contains_what_the_build_of_the_package_reads() -> None:
    copied = " ".join(arguments for name, arguments in instructions() if name == "COPY")
    hatch = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]
    wheel_target = hatch["build"]["targets"]["wheel"]
    for name in (
        PROJECT["readme"],
        *PROJECT["license-files"],
        *wheel_target["packages"],
        *wheel_target["force-include"],
    ):
        assert name in copied


def test_guide_shows_how_to_build_and_run_the_image() -> None:
    guide = (ROOT / "docs" / "guides" / "containers.md").read_text(encoding="utf-8")
    assert "docker build --tag recctl" in guide
    assert "docker run --rm" in guide
    for name, arguments in instructions():
        if name == "ARG":
            assert arguments.partition("=")[0] in guide
