"""How a search went: its trials, what mattered, and where the good values lie."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from recctl.metrics import MetricKey
from recctl.reports.render import formatting, plots
from recctl.reports.render.html import Html, code, figure, grid, join, label, note, table, tag
from recctl.reports.report_data import LeftOutError, ReportData
from recctl.runs import Run

if TYPE_CHECKING:
    import pandas as pd

_KEPT = ("number", "state", "chosen_epoch", "fit_seconds", "evaluate_seconds", "error", "pareto")
_MOST_LINES = 300
_SHADES = 5


def search(material: ReportData) -> Html | None:
    """The searches among the runs."""
    found = [run for run in material.runs if run.metadata.get("kind") == "tune"]
    if not found:
        return None
    shown = [_Search(run).shown() for run in found]
    if len(found) == 1:
        return shown[0]
    return join([[tag("h3", code(run.id)), body] for run, body in zip(found, shown, strict=True)])


class _Search:
    """The trials of one search."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.facts: dict[str, Any] = run.metadata.get("tuning", {})
        self.trials = self._read()
        columns = [str(column) for column in self.trials]
        self.monitors: list[str] = (
            self.facts.get("monitors") or [name for name in columns[2:] if MetricKey.parse(name).is_known][:1]
        )
        self.names = [name for name in columns if name not in _KEPT and not MetricKey.parse(name).is_known]
        if not self.monitors or self.monitors[0] not in columns:
            raise LeftOutError("no trial of the search came to a value")
        self.monitor = self.monitors[0]
        self.sign = MetricKey.parse(self.monitor).sign
        done = self.trials[self.trials[self.monitor].notna()]
        self.done = done.sort_values(self.monitor, ascending=self.sign < 0, kind="stable")
        if not len(done):
            raise LeftOutError("no trial of the search came to a value")

    def _read(self) -> pd.DataFrame:
        import pandas as pd

        path = self.run.path / "trials.parquet"
        if not path.exists():
            raise LeftOutError(f"{self.run.id} holds no trials yet")
        try:
            return pd.read_parquet(path)
        except Exception as error:  # whatever the reader says of a damaged file
            raise LeftOutError(f"{path}: damaged: {error}") from None

    def shown(self) -> Html:
        title = formatting.metric_name(self.monitor)
        shown = [self._history(title), self._importances()]
        return join(
            [
                note(self._said()),
                grid([one for one in shown if one is not None]),
                self._pareto(),
                self._parallel(title) if len(self.names) > 1 else None,
                tag("h3", "Each setting alone"),
                grid([self._slice(name, title) for name in self.names], small=len(self.names) > 2),
                tag("h3", "The best trials"),
                self._best(),
            ]
        )

    def _said(self) -> str:
        states = self.trials["state"].value_counts().to_dict()
        told = ", ".join(f"{count} {state}" for state, count in states.items())
        strategy = f", {self.facts['strategy']}" if "strategy" in self.facts else ""
        fitting = float(self.trials["fit_seconds"].sum()) if "fit_seconds" in self.trials else None
        return (
            f"{len(self.trials)} trials{strategy}: {told}; {formatting.seconds(fitting)} of fitting. All on validation."
        )

    def _history(self, title: str) -> Html:
        in_order = self.done.sort_values("number")
        values = in_order[self.monitor].tolist()
        best, so_far = [], -math.inf
        for value in values:
            so_far = max(so_far, self.sign * value)
            best.append(self.sign * so_far)
        x = in_order["number"].tolist()
        traces = [
            plots.dots("A trial", x, values, 0, marker={"opacity": 0.7}),
            plots.line("Best until then", x, best, 1, points=False, line={"color": "@2", "width": 2, "shape": "hv"}),
        ]
        return figure("The search", plots.plot(traces, "Trial", title))

    def _importances(self) -> Html | None:
        found = self.facts.get("importances") or {}
        if not found:
            return None
        names = sorted(found, key=lambda name: float(found[name]))
        trace = plots.bars(None, [found[name] for name in names], [label(name) for name in names], 2, lying=True)
        axis = {"type": "category", "showgrid": False, "title": ""}
        height = max(220, 90 + 34 * len(names))
        return figure(
            "What mattered",
            plots.plot([trace], {"title": "Share of the importance", "tickformat": ".0%"}, axis, height=height),
            "How much each setting tells good trials from the rest (PED-ANOVA).",
        )

    def _pareto(self) -> Html | None:
        if len(self.monitors) < 2 or self.monitors[1] not in self.done:
            return None
        first, second = self.monitors[:2]
        front = self.done["pareto"].astype(bool) if "pareto" in self.done else self.done[first].isna()
        traces = [
            plots.dots(name, some[first].tolist(), some[second].tolist(), at)
            for at, (name, some) in enumerate((("Others", self.done[~front]), ("Best trade-offs", self.done[front])))
            if len(some)
        ]
        titles = formatting.metric_name(first), formatting.metric_name(second)
        return figure("Trade-offs of the trials", plots.plot(traces, *titles, height=380))

    def _slice(self, name: str, title: str) -> Html:
        some = self.done[self.done[name].notna()]
        x = [label(formatting.setting(v)) if self._is_text(name) else float(v) for v in some[name]]
        axis: dict[str, Any] = {"title": name}
        if self._is_text(name):
            axis["type"] = "category"
        elif self._is_log(name):
            axis |= {"type": "log", "dtick": 1}
        shades = [_SHADES - 1 - min(_SHADES - 1, at * _SHADES // max(1, len(some))) for at in range(len(some))]
        trace = plots.dots(None, x, some[self.monitor].tolist(), 0)
        trace["marker"] |= {"color": [f"@s{shade}" for shade in shades], "line": {"color": "@line", "width": 0.5}}
        return figure(name, plots.plot([trace], axis, title, height=260))

    def _is_text(self, name: str) -> bool:
        return self.done[name].dtype.kind not in "iuf"

    def _is_log(self, name: str) -> bool:
        low, high = self.done[name].min(), self.done[name].max()
        return bool(low > 0 and high / low > 20)

    def _parallel(self, title: str) -> Html:
        """Every trial a line over its settings, drawn from the worst to the best."""
        axes = [
            _Axis(name, self.done[name].tolist(), self._is_text(name), not self._is_text(name) and self._is_log(name))
            for name in self.names
        ]
        axes.append(_Axis(title, self.done[self.monitor].tolist(), False, False))
        n = min(len(self.done), _MOST_LINES)
        traces = []
        for at in reversed(range(n)):
            shade = _SHADES - 1 - at * _SHADES // n
            best = at == 0
            traces.append(
                {
                    "type": "scatter",
                    "mode": "lines+markers" if best else "lines",
                    "x": list(range(len(axes))),
                    "y": [axis.places[at] for axis in axes],
                    "line": {"color": "@2" if best else f"@s{shade}", "width": 3 if best else 1},
                    "opacity": 1 if best else 0.75,
                    "hovertemplate": f"trial {self.done['number'].iloc[at]}<extra></extra>",
                    "showlegend": False,
                }
            )
        ends = [end for at, axis in enumerate(axes) for end in axis.ends(at)]
        lines = [
            plots.vertical(at, "@line") | {"line": {"color": "@line", "width": 1}, "layer": "below"}
            for at in range(len(axes))
        ]
        layout = {"shapes": lines, "annotations": ends, "showlegend": False}
        x = {
            "tickvals": list(range(len(axes))),
            "ticktext": [label(axis.name) for axis in axes],
            "showgrid": False,
            "zeroline": False,
            "range": [-0.3, len(axes) - 0.7],
        }
        y = {"visible": False, "range": [-0.12, 1.12]}
        some = "" if n == len(self.done) else f" The best {n} of {len(self.done)} are drawn."
        return figure(
            "Settings together",
            plots.plot(traces, x, y, height=400) | {"layout": plots.plot(traces, x, y, height=400)["layout"] | layout},
            f"Each line is a trial, the darker or brighter the better; the best stands out.{some}",
        )

    def _best(self) -> Html:
        rows = [
            [
                str(row["number"]),
                formatting.value(row[self.monitor]),
                *(formatting.setting(None if row[name] != row[name] else row[name]) for name in self.names),
                formatting.seconds(row["fit_seconds"]) if "fit_seconds" in row else formatting.NOTHING,
            ]
            for row in self.done.head(10).to_dict("records")
        ]
        return table(
            "The best trials", ["Trial", formatting.metric_name(self.monitor), *self.names, "Fit"], rows, words=()
        )


class _Axis:
    """An axis of the parallel coordinates: where values lie on it, from 0 to 1."""

    def __init__(self, name: str, values: list[Any], is_text: bool, is_log: bool) -> None:
        self.name = name
        self.words: list[str] = []
        if is_text:
            told = [formatting.setting(value) for value in values]
            self.words = sorted(set(told))
            most = max(1, len(self.words) - 1)
            self.places: list[float | None] = [self.words.index(word) / most for word in told]
            self.low = self.high = 0.0
            return
        known = [float(value) for value in values if value == value]
        self.low, self.high = min(known), max(known)
        turned = math.log if is_log else float
        low, high = turned(self.low), turned(self.high)
        width = (high - low) or 1.0
        self.places = [(turned(float(value)) - low) / width if value == value else None for value in values]

    def ends(self, at: int) -> list[dict[str, Any]]:
        """What stands at the ends of the axis; of words, each at its place."""
        if self.words:
            most = max(1, len(self.words) - 1)
            told = [(place / most, word) for place, word in enumerate(self.words[:12])]
        else:
            told = [(0.0, formatting.setting(self.low)), (1.0, formatting.setting(self.high))]
        return [
            {
                "x": at,
                "y": place,
                "text": label(word),
                "showarrow": False,
                "yshift": 12 if place == 1 else -12 if place == 0 else 0,
                "font": {"size": 11, "color": "@muted"},
                "bgcolor": "@paper",
            }
            for place, word in told
        ]
