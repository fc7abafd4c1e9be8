"""The report of a tracked run, stored with its record in MLflow."""

from __future__ import annotations

import tempfile
from pathlib import Path

import yaml

from recctl import progress, urls
from recctl.reports.report import write_report
from recctl.runs import Run
from recctl.tracking.mlflow_store import ExperimentStore, quiet_mlflow

REPORT = "report.html"


def store_report(run: Run) -> None:
    """Store the HTML report of a complete run with its MLflow run; nothing happens if it is not tracked there.

    A failure becomes a notice and a line of log.txt.
    """
    record = run.metadata.get("tracking", {}).get("mlflow")
    settings = (yaml.safe_load(run.config_text()).get("tracking") or {}).get("mlflow") or {}
    if run.status != "complete" or record is None or not settings.get("report"):
        return
    try:
        with tempfile.TemporaryDirectory(prefix="recctl-") as folder, progress.task("Storing the report in MLflow"):
            path = Path(folder) / REPORT
            with progress.silence():
                write_report([run], path)
            with quiet_mlflow():
                store = ExperimentStore(settings.get("uri"), record["experiment"])
                store.log_file(record["run_id"], path)
    except Exception as error:  # neither the report nor the server may make a complete run fail
        message = urls.hide(f"mlflow: the report is not stored: {error}")
        run.log(message)
        progress.notice(message.splitlines()[0][:300])
