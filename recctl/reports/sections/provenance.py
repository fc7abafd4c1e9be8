"""Data, split and leakage; the environment of each run, and its config."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from recctl.data.leakage import warnings
from recctl.errors import RecctlError
from recctl.experiment.warm_start import describe_record
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
    step_lines = []
    for step_record in steps:
        settings = [
            f"{option_name} {value}" for option_name, value in step_record.items() if value not in (None, {}, [])
        ]
        step_lines.append(", ".join(settings))
    return Bullets(step_lines)


def _count_unless_zero(number: int | None) -> str | None:
    return formatting.count(number) if number else None


def _split_options(split: Metadata) -> str | None:
    if not split:
        return None
    options = split.get("options", {})
    settings = [
        f"{option_name} {formatting.setting(value)}" for option_name, value in options.items() if value is not None
    ]
    return f"{split.get('strategy')}: {', '.join(settings)}"


def _parts(leakage_report: Metadata) -> list[Block]:
    parts = leakage_report.get("parts")
    if not parts:
        return []
    n_interactions = sum(part_sizes["interactions"] for part_sizes in parts.values())
    table_rows = []
    for part_name, part_sizes in parts.items():
        row_cells = [
            part_name.capitalize(),
            formatting.count(part_sizes["interactions"]),
            formatting.count(part_sizes["users"]),
            formatting.count(part_sizes["items"]),
            formatting.percent(part_sizes["interactions"] / n_interactions),
        ]
        table_rows.append(row_cells)
    headings = ["Part", "Interactions", "Users", "Items", "Share of interactions"]
    return [Heading("Parts"), Table("Parts of the split", headings, table_rows)]


def _leakage(leakage_report: Metadata) -> list[Block]:
    part_names = [part_name for part_name in HELD_OUT if part_name in leakage_report]
    if not part_names:
        return []
    blocks: list[Block] = [Heading("Leakage")]
    sentences = [f"{formatting.capitalized(warning)}." for warning in warnings(leakage_report)]
    if sentences:
        blocks.append(Bullets(sentences))
    reports = [leakage_report[part_name] for part_name in part_names]
    table_rows = [
        ["Oldest interaction"] + [_date(report["first_moment"]) for report in reports],
        ["Train interactions newer than that"] + [_count_and_share(report["train_later"]) for report in reports],
        ["Inputs newer than the user's first interaction in the part"]
        + [_count_and_share(report["own_later"]) for report in reports],
        ["Users not in train"] + [formatting.count(report["unseen_users"]["users"]) for report in reports],
        ["Items not in train"] + [formatting.count(report["unseen_items"]["items"]) for report in reports],
        ["User-item pairs also in train"] + [formatting.count(report["duplicates"]) for report in reports],
    ]
    headings = ["Leakage"] + [part_name.capitalize() for part_name in part_names]
    blocks.append(Table("Leakage", headings, table_rows))
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
    data_record = metadata.get("data", {})
    blocks: list[Block] = [
        facts(
            {
                "Run": code(run.id),
                "Started": formatting.timestamp(metadata.get("created")),
                "Finished": formatting.timestamp(metadata.get("finished")),
                "Command": _code(" ".join(environment.get("command", []))),
                "Config": metadata.get("config"),
                "Parent run": _code(metadata.get("parent_run")),
                "Warm start from": _warm_start(metadata.get("warm_start")),
                "Seed": _text(metadata.get("seed")),
                "Commit": _commit(environment.get("git")),
                "Versions": _versions(environment),
                "Hardware": _hardware(environment.get("hardware", {})),
                "Time": _timings(run.timings),
                "Data hash": _code(data_record.get("hash")),
                "Data file": data_record.get("file"),
                "SHA-256 of the file": _code(data_record.get("sha256")),
                "Recommendation lists": _lists(metadata.get("lists")),
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


def _lists(record: Metadata | None) -> Inline | None:
    if record is None:
        return None
    return [
        f"{record['file']}, {record['entries']:,} entries of {record['users']:,} users; SHA-256 ",
        code(record["sha256"]),
    ]


def _warm_start(record: Metadata | None) -> Inline | None:
    if record is None:
        return None
    return [f"{describe_record(record)}; SHA-256 ", code(record["sha256"])]


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
    versions += [
        f"{package_name} {version}" for package_name, version in environment.get("packages", {}).items() if version
    ]
    return ", ".join(versions)


def _hardware(hardware: Metadata) -> str:
    property_values = [hardware.get("processor"), hardware.get("machine"), hardware.get("system")]
    if "threads" in hardware:
        property_values.append(f"{hardware['threads']} threads, {hardware.get('cpus')} cores")
    return ", ".join(property_value for property_value in property_values if property_value)


def _timings(timings: Mapping[str, float]) -> str:
    return ", ".join(f"{stage} {seconds:.3g} s" for stage, seconds in timings.items())


def _model_files(models: list[Metadata]) -> Table:
    table_rows = []
    for model_entry in models:
        row_cells: list[Inline] = [
            f"v{model_entry['version']}",
            model_entry["model"],
            model_entry["fitted_on"],
            formatting.file_size(model_entry.get("bytes")),
            code(model_entry["sha256"]),
        ]
        table_rows.append(row_cells)
    headings = ["Version", "Model", "Fitted on", "Size", "SHA-256"]
    return Table("Model files", headings, table_rows, text_columns=(0, 1, 2, 4), show_caption=True)


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
            config_text = run.config_text()
        except RecctlError as error:
            raise SectionOmittedError(str(error)) from None
        summary = "All settings, including defaults" if len(report_data.runs) == 1 else run.id
        blocks.append(Details(summary, [Preformatted(config_text)]))
    return blocks
