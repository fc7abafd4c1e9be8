"""The layout of a run directory: the name of every file and folder in it.

To add a file, name it here. Write it with `Run.save_file`, which records its hash for `recctl runs verify`; or, if it
changes while the run lasts, with a `Run.save_*` method of its own (`recctl.runs.directory`) and a check in
`recctl.runs.verification`. If training writes it, delete it in `recctl.experiment.stages` where training starts again.
If trackers are to store it, list it in `recctl.experiment.tracked_run`. Describe it in docs/reference/run-directory.md.

Listing, sizes and deletion need no change: they treat a run as a folder.
"""

from __future__ import annotations

# A section of METRICS beside those of the parts: the figures of segments, by part
SEGMENTS_OF_METRICS = "segments"

# Sections of METADATA that only some runs have
ALL_DATA = "all_data"  # those fitted on all data
LISTS = "lists"  # those of recommendation lists that were made elsewhere
WARM_START = "warm_start"  # those that began from the model of another run

CONFIG = "config.yaml"  # the config with every default filled in
METADATA = "metadata.json"  # status, timings, provenance, model versions
EVALUATIONS = "evaluations.json"  # records: which model, data and protocol each figure belongs to
METRICS = "metrics.json"  # the figures of the current model, for scripts
PER_USER = "per_user.parquet"  # metrics of each user, by record
SEGMENTS = "segments.parquet"  # metrics of each user in each segment, by record
SPLIT = "split.npz"  # the part of every interaction
HISTORY = "history.jsonl"  # one line an epoch
LOG = "log.txt"
TITLES = "titles.parquet"  # titles of the items
LABELS = "remarks.json"  # tags and note; the name is from version 0.1
COMPARISON = "comparison.json"  # result of a comparison

# Folders
MODELS = "models"  # v1.pkl, v2.pkl, ...
CHECKPOINTS = "checkpoints"  # only while a model is trained, and of interrupted runs
EXPORTS = "exports"
FIGURES = "figures"  # plots of a search

# Of a search
STUDY = "study.db"
TRIALS = "trials.parquet"
BEST_CONFIG = "best.yaml"

# In CHECKPOINTS
BEST_CHECKPOINT = "best.pkl"  # a model
LAST_CHECKPOINT = "last.pkl"  # the full training state
REFIT_CHECKPOINT = "refit.pkl"
WARM_START_MODEL = "warm_start.pkl"  # the model that training begins from; only until the run is complete
