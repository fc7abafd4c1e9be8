"""What the figures are of: data, split, leakage; and what they were made with."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from recctl.data.leakage import warnings
from recctl.errors import RecctlError
from recctl.reports.render import formatting
from recctl.reports.render.html import Html, bullets, code, facts, fold, join, table, tag
from recctl.reports.report_data import LeftOutError, ReportData
from recctl.runs import Run


def data(material: ReportData) -> Html:
    """The data, the parts of the split, and what the split gives away; once for runs of the same."""
    found = _distinct([*material.runs, *(one.run for one in material.subjects)])
    if not found:
        raise LeftOutError("the run ended before it had read any")
    shown = [_data_of(run) for run in found]
    if len(found) == 1:
        return shown[0]
    return join([[tag("h3", code(run.id)), body] for run, body in zip(found, shown, strict=True)])


def _distinct(runs: list[Run]) -> list[Run]:
    by_hash: dict[Any, Run] = {}
    for run in runs:
        if "data" in run.metadata:
            by_hash.setdefault((run.metadata["data"].get("hash"), run.metadata.get("split", {}).get("hash")), run)
    return list(by_hash.values())


def _data_of(run: Run) -> Html:
    about: dict[str, Any] = run.metadata["data"]
    split: dict[str, Any] = run.metadata.get("split", {})
    users, items, n = about.get("users"), about.get("items"), about.get("interactions")
    density = n / (users * items) if users and items and n else None
    options = ", ".join(
        f"{name} {formatting.setting(value)}" for name, value in split.get("options", {}).items() if value is not None
    )
    pairs = {
        "Source": about.get("source"),
        "Served by": about.get("mirror"),
        "Interactions": formatting.count(n),
        "Users": formatting.count(users),
        "Items": formatting.count(items),
        "Density": None if density is None else f"{density:.3%}",
        "Preprocessing": bullets([_step(step) for step in about["preprocess"]]) if about.get("preprocess") else None,
        "Left out by minimum counts": formatting.count(about["left_out_by_minimum"])
        if about.get("left_out_by_minimum")
        else None,
        "Rows that could not be read": formatting.count(about["rows_skipped"]) if about.get("rows_skipped") else None,
        "Split": f"{split.get('strategy')}: {options}" if split else None,
    }
    report = split.get("leakage") or {}
    return join([facts(pairs), _parts(report), _leakage(report)])


def _step(step: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in step.items() if value not in (None, {}, []))


def _parts(report: dict[str, Any]) -> Html | None:
    parts = report.get("parts")
    if not parts:
        return None
    total = sum(of["interactions"] for of in parts.values())
    rows = [
        [
            name.capitalize(),
            *(formatting.count(of[what]) for what in ("interactions", "users", "items")),
            formatting.share(of["interactions"] / total),
        ]
        for name, of in parts.items()
    ]
    return join(
        [tag("h3", "Parts"), table("Parts of the split", ["Part", "Interactions", "Users", "Items", "Share"], rows)]
    )


def _leakage(report: dict[str, Any]) -> Html | None:
    held_out = [name for name in ("validation", "test") if name in report]
    if not held_out:
        return None
    said = [f"{line[0].upper()}{line[1:]}." for line in warnings(report)]
    rows = [
        ["First moment", *(_moment(report[name]["first_moment"]) for name in held_out)],
        ["Train later than that", *(_share(report[name]["train_later"]) for name in held_out)],
        [
            "Known of a user later than the user's first one there",
            *(_share(report[name]["own_later"]) for name in held_out),
        ],
        ["Users that train never saw", *(formatting.count(report[name]["unseen_users"]["users"]) for name in held_out)],
        ["Items that train never saw", *(formatting.count(report[name]["unseen_items"]["items"]) for name in held_out)],
        ["Pairs that train has too", *(formatting.count(report[name]["duplicates"]) for name in held_out)],
    ]
    heads = ["What the split gives away", *(name.capitalize() for name in held_out)]
    return join([tag("h3", "Leakage"), bullets(said) if said else None, table("Leakage", heads, rows)])


def _share(of: dict[str, Any] | None) -> str:
    return (
        formatting.NOTHING
        if of is None
        else f"{formatting.count(of['interactions'])} ({formatting.share(of['share'])})"
    )


def _moment(seconds: float | None) -> str:
    if seconds is None:
        return formatting.NOTHING
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
    except (OverflowError, OSError, ValueError):  # numbers that are no seconds
        return str(seconds)


# ---- provenance


def provenance(material: ReportData) -> Html:
    """What each run was made with."""
    runs = list({run.id: run for run in [*material.runs, *(one.run for one in material.subjects)]}.values())
    if len(runs) == 1:
        return _made_with(runs[0])
    return join([fold(run.id, _made_with(run)) for run in runs])


def _made_with(run: Run) -> Html:
    about = run.metadata
    made: dict[str, Any] = about.get("environment", {})
    git, machine = made.get("git"), made.get("hardware", {})
    packages = made.get("packages", {})
    timings = about.get("timings", {})
    pairs = {
        "Run": code(run.id),
        "Begun": formatting.moment(about.get("created")),
        "Ended": formatting.moment(about.get("finished")),
        "Command": code(" ".join(made["command"])) if made.get("command") else None,
        "Config": about.get("config"),
        "Parent run": code(about["parent_run"]) if about.get("parent_run") else None,
        "Seed": about.get("seed"),
        "Commit": [code(git["commit"]), " and uncommitted changes" if git.get("dirty") else None] if git else None,
        "Versions": ", ".join(
            [
                f"recctl {made.get('recctl')}",
                f"Python {made.get('python')}",
                *(f"{k} {v}" for k, v in packages.items() if v),
            ]
        )
        if made
        else None,
        "Machine": ", ".join(
            filter(None, [machine.get("processor"), machine.get("machine"), machine.get("system"), _threads(machine)])
        ),
        "Seconds": ", ".join(f"{stage} {seconds:.3g}" for stage, seconds in timings.items()),
        "Data hash": _hash(about.get("data", {}).get("hash")),
        "File": about.get("data", {}).get("file"),
        "File's SHA-256": _hash(about.get("data", {}).get("sha256")),
        "Split hash": _hash(about.get("split", {}).get("hash")),
        "Looks at test": about.get("test_looks"),
    }
    models = [
        [
            f"v{entry['version']}",
            entry["model"],
            entry["fitted_on"],
            formatting.size(entry.get("bytes")),
            code(entry["sha256"]),
        ]
        for entry in about.get("models", [])
    ]
    heads = ["Version", "Model", "Fitted on", "Size", "SHA-256"]
    return join([facts(pairs), table("Model files", heads, models, words=(0, 1, 2, 4), hide=False) if models else None])


def _hash(text: str | None) -> Html | None:
    return code(text) if text else None


def _threads(machine: dict[str, Any]) -> str | None:
    return f"{machine['threads']} of {machine.get('cpus')} cores used" if "threads" in machine else None


def config(material: ReportData) -> Html:
    """The configs, with every default filled in."""
    shown = []
    for run in material.runs:
        try:
            text = run.config_text()
        except RecctlError as error:
            raise LeftOutError(str(error)) from None
        name = "Every value, defaults included" if len(material.runs) == 1 else run.id
        shown.append(fold(name, tag("pre", text, tabindex=0)))
    return join(
        [
            tag(
                "p",
                "This file makes the same run again: ",
                code("recctl train config.yaml")
                if len(material.runs) == 1 and material.runs[0].metadata.get("kind") in (None, "train")
                else code("config.yaml"),
            ),
            shown,
        ]
    )
