"""Data, split and leakage; the environment of each run, and its config."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from recctl.data.leakage import warnings
from recctl.errors import RecctlError
from recctl.reports.errors import SectionOmittedError
from recctl.reports.render import formatting
from recctl.reports.render.blocks import (
    Block,
    Bullets,
    Details,
    Facts,
    Heading,
    Inline,
    Paragraph,
    Preformatted,
    Styled,
    Table,
    code,
    facts,
)
from recctl.reports.report_data import HELD_OUT, ReportData
from recctl.runs import Run

Metadata = dict[str, Any]


def _all_runs(report_data: ReportData) -> list[Run]:
    """The runs of the report and those that a comparison compares, without repetition."""
    runs = report_data.runs + [view.run for view in report_data.views]
    return list({run.id: run for run in runs}.values())


# ---- data and split


def data(report_data: ReportData) -> list[Block]:
    """The data, the parts of the split, and leakage; once for runs that share data and split."""
    runs = _runs_with_distinct_data(_all_runs(report_data))
    if not runs:
        raise SectionOmittedError("the run ended before it read any data")
    if len(runs) == 1:
        return _data_blocks(runs[0].metadata)
    blocks: list[Block] = []
    for run in runs:
        blocks.append(Heading(code(run.id)))
        blocks += _data_blocks(run.metadata)
    return blocks


def _runs_with_distinct_data(runs: list[Run]) -> list[Run]:
    by_hashes: dict[Any, Run] = {}
    for run in runs:
        if "data" in run.metadata:
            hashes = (run.metadata["data"].get("hash"), run.metadata.get("split", {}).get("hash"))
            by_hashes.setdefault(hashes, run)
    return list(by_hashes.values())


def _data_blocks(metadata: Metadata) -> list[Block]:
    leakage_report = metadata.get("split", {}).get("leakage") or {}
    blocks: list[Block] = [_data_facts(metadata["data"], metadata.get("split", {}))]
    blocks += _parts(leakage_report)
    blocks += _leakage(leakage_report)
    return blocks


def _data_facts(data: Metadata, split: Metadata) -> Facts:
    n_users = data.get("users")
    n_items = data.get("items")
    n_interactions = data.get("interactions")
    density = None
    if n_users and n_items and n_interactions:
        density = f"{n_interactions / (n_users * n_items):.3%}"
    return facts(
        {
            "Source": data.get("source"),
            "Downloaded from": data.get("mirror"),
            "Interactions": formatting.count(n_interactions),
            "Users": formatting.count(n_users),
            "Items": formatting.count(n_items),
            "Density": density,
            "Preprocessing": _preprocessing(data),
            "Dropped by minimum counts": _count_unless_zero(data.get("left_out_by_minimum")),
            "Unreadable rows skipped": _count_unless_zero(data.get("rows_skipped")),
            "Split": _split_options(split),
        }
    )


def _preprocessing(data: Metadata) -> Bullets | None:
    steps = data.get("preprocess")
    if not steps:
        return None
    lines = []
    for step in steps:
        settings = [f"{name} {value}" for name, value in step.items() if value not in (None, {}, [])]
        lines.append(", ".join(settings))
    return Bullets(lines)


def _count_unless_zero(number: int | None) -> str | None:
    return formatting.count(number) if number else None


def _split_options(split: Metadata) -> str | None:
    if not split:
        return None
    options = split.get("options", {})
    settings = [f"{name} {formatting.setting(value)}" for name, value in options.items() if value is not None]
    return f"{split.get('strategy')}: {', '.join(settings)}"


def _parts(leakage_report: Metadata) -> list[Block]:
    parts = leakage_report.get("parts")
    if not parts:
        return []
    total = sum(sizes["interactions"] for sizes in parts.values())
    rows = []
    for name, sizes in parts.items():
        row = [
            name.capitalize(),
            formatting.count(sizes["interactions"]),
            formatting.count(sizes["users"]),
            formatting.count(sizes["items"]),
            formatting.percent(sizes["interactions"] / total),
        ]
        rows.append(row)
    headings = ["Part", "Interactions", "Users", "Items", "Share of interactions"]
    return [Heading("Parts"), Table("Parts of the split", headings, rows)]


def _leakage(leakage_report: Metadata) -> list[Block]:
    parts = [part for part in HELD_OUT if part in leakage_report]
    if not parts:
        return []
    blocks: list[Block] = [Heading("Leakage")]
    sentences = [f"{formatting.capitalized(warning)}." for warning in warnings(leakage_report)]
    if sentences:
        blocks.append(Bullets(sentences))
    reports = [leakage_report[part] for part in parts]
    rows = [
        ["Oldest interaction"] + [_date(report["first_moment"]) for report in reports],
        ["Train interactions newer than that"] + [_count_and_share(report["train_later"]) for report in reports],
        ["Inputs newer than the user's first interaction in the part"]
        + [_count_and_share(report["own_later"]) for report in reports],
        ["Users not in train"] + [formatting.count(report["unseen_users"]["users"]) for report in reports],
        ["Items not in train"] + [formatting.count(report["unseen_items"]["items"]) for report in reports],
        ["User-item pairs also in train"] + [formatting.count(report["duplicates"]) for report in reports],
    ]
    headings = ["Leakage"] + [part.capitalize() for part in parts]
    blocks.append(Table("Leakage", headings, rows))
    return blocks


def _count_and_share(interactions: Metadata | None) -> str:
    if interactions is None:
        return formatting.MISSING
    return f"{formatting.count(interactions['interactions'])} ({formatting.percent(interactions['share'])})"


def _date(seconds: float | None) -> str:
    if seconds is None:
        return formatting.MISSING
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M}"
    except (OverflowError, OSError, ValueError):  # a number that is not a Unix time in seconds
        return str(seconds)


# ---- provenance


def provenance(report_data: ReportData) -> list[Block]:
    """The environment, hashes and model files of each run."""
    runs = _all_runs(report_data)
    if len(runs) == 1:
        return _run_blocks(runs[0])
    return [Details(run.id, _run_blocks(run)) for run in runs]


def _run_blocks(run: Run) -> list[Block]:
    metadata = run.metadata
    environment = metadata.get("environment", {})
    data = metadata.get("data", {})
    blocks: list[Block] = [
        facts(
            {
                "Run": code(run.id),
                "Started": formatting.timestamp(metadata.get("created")),
                "Finished": formatting.timestamp(metadata.get("finished")),
                "Command": _code(" ".join(environment.get("command", []))),
                "Config": metadata.get("config"),
                "Parent run": _code(metadata.get("parent_run")),
                "Seed": _text(metadata.get("seed")),
                "Commit": _commit(environment.get("git")),
                "Versions": _versions(environment),
                "Hardware": _hardware(environment.get("hardware", {})),
                "Time": _timings(metadata.get("timings", {})),
                "Data hash": _code(data.get("hash")),
                "Data file": data.get("file"),
                "SHA-256 of the file": _code(data.get("sha256")),
                "Split hash": _code(metadata.get("split", {}).get("hash")),
                "Evaluations on test": _text(metadata.get("test_looks")),
            }
        )
    ]
    models = metadata.get("models", [])
    if models:
        blocks.append(_model_files(models))
    return blocks


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _code(text: str | None) -> Styled | None:
    return code(text) if text else None


def _commit(git: Metadata | None) -> Inline | None:
    if not git:
        return None
    commit = code(git["commit"])
    if git.get("dirty"):
        return [commit, ", with uncommitted changes"]
    return commit


def _versions(environment: Metadata) -> str | None:
    if not environment:
        return None
    versions = [f"recctl {environment.get('recctl')}", f"Python {environment.get('python')}"]
    versions += [f"{name} {version}" for name, version in environment.get("packages", {}).items() if version]
    return ", ".join(versions)


def _hardware(hardware: Metadata) -> str:
    names = [hardware.get("processor"), hardware.get("machine"), hardware.get("system")]
    if "threads" in hardware:
        names.append(f"{hardware['threads']} threads, {hardware.get('cpus')} cores")
    return ", ".join(name for name in names if name)


def _timings(timings: Metadata) -> str:
    return ", ".join(f"{stage} {seconds:.3g} s" for stage, seconds in timings.items())


def _model_files(models: list[Metadata]) -> Table:
    rows = []
    for entry in models:
        row: list[Inline] = [
            f"v{entry['version']}",
            entry["model"],
            entry["fitted_on"],
            formatting.file_size(entry.get("bytes")),
            code(entry["sha256"]),
        ]
        rows.append(row)
    headings = ["Version", "Model", "Fitted on", "Size", "SHA-256"]
    return Table("Model files", headings, rows, text_columns=(0, 1, 2, 4), show_caption=True)


# ---- config


def config(report_data: ReportData) -> list[Block]:
    """The config of each run, with every default filled in."""
    is_training = len(report_data.runs) == 1 and report_data.runs[0].metadata.get("kind") in (None, "train")
    introduction: list[str | Styled] = ["The file ", code("config.yaml"), " in the directory of the run."]
    if is_training:
        introduction += [" To repeat the run: ", code("recctl train config.yaml")]
    blocks: list[Block] = [Paragraph(introduction)]
    for run in report_data.runs:
        try:
            text = run.config_text()
        except RecctlError as error:
            raise SectionOmittedError(str(error)) from None
        summary = "All settings, including defaults" if len(report_data.runs) == 1 else run.id
        blocks.append(Details(summary, [Preformatted(text)]))
    return blocks
