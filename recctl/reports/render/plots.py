"""Figures as plotly has them: plain `data` and `layout`. Colours are names of the style sheet's, as `@1`.

Only kinds of traces that plotly draws as SVG are used: they look the same on paper, without a graphics card, and under
a policy that forbids making code from text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recctl.reports.render.html import label

Plot = dict[str, Any]
N_COLOURS = 7
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_SIGNS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")


def colour(at: int) -> str:
    """The colour of the series at a place."""
    return f"@{at % N_COLOURS + 1}"


def plot(traces: Sequence[Plot], x: Any, y: Any, *, height: int = 340, **layout: Any) -> Plot:
    """A figure of traces; axes are titles, or what plotly's axes take."""
    axes = {"xaxis": _axis(x), "yaxis": _axis(y)}
    shown = any("name" in trace for trace in traces)
    return {"data": list(traces), "layout": {"height": height, "showlegend": shown, **axes, **layout}}


def _axis(given: Any) -> Plot:
    axis = {"title": given} if isinstance(given, str) else dict(given)
    axis["title"] = {"text": label(axis.get("title", ""))}
    return axis


def line(
    name: str | None, x: Sequence[Any], y: Sequence[Any], at: int = 0, *, points: bool | None = None, **more: Any
) -> Plot:
    """A line; series differ by colour, dashes and signs, so that each tells them apart alone."""
    points = len(x) <= 60 if points is None else points
    trace: Plot = {
        "type": "scatter",
        "mode": "lines+markers" if points else "lines",
        "x": list(x),
        "y": list(y),
        "line": {"color": colour(at), "width": 2, "dash": _DASHES[at % len(_DASHES)]},
        "marker": {"color": colour(at), "size": 6, "symbol": _SIGNS[at % len(_SIGNS)]},
    }
    return trace | ({} if name is None else {"name": label(name)}) | more


def dots(name: str | None, x: Sequence[Any], y: Sequence[Any], at: int = 0, **more: Any) -> Plot:
    """Points."""
    marker = {"color": colour(at), "size": 8, "symbol": _SIGNS[at % len(_SIGNS)]} | more.pop("marker", {})
    trace: Plot = {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), "marker": marker}
    return trace | ({} if name is None else {"name": label(name)}) | more


def with_intervals(trace: Plot, figures: Sequence[Mapping[str, Any]], axis: str = "y", prefix: str = "") -> Plot:
    """The same trace with bars from the lower to the upper ends of its values' intervals."""
    values = trace[axis]
    ends = [(figure.get(f"{prefix}low"), figure.get(f"{prefix}high")) for figure in figures]
    known = [low is not None and high is not None and low == low and high == high for low, high in ends]
    above = [high - value if ok else 0.0 for value, (_, high), ok in zip(values, ends, known, strict=True)]
    below = [value - low if ok else 0.0 for value, (low, _), ok in zip(values, ends, known, strict=True)]
    bars = {"type": "data", "symmetric": False, "array": above, "arrayminus": below, "thickness": 1.5, "width": 4}
    return trace | {f"error_{axis}": bars | {"color": trace["marker"]["color"]}}


def bars(
    name: str | None, x: Sequence[Any], y: Sequence[Any], at: int = 0, *, lying: bool = False, **more: Any
) -> Plot:
    """Bars; lying ones have their names in `y`."""
    trace: Plot = {"type": "bar", "x": list(x), "y": list(y), "marker": {"color": colour(at)}}
    trace |= {"orientation": "h"} if lying else {}
    return trace | ({} if name is None else {"name": label(name)}) | more


def forest(
    names: Sequence[str], figures: Sequence[Mapping[str, Any]], title: str, *, of: str = "value", prefix: str = ""
) -> Plot:
    """Values with their intervals, one under another, in the order given from above.

    Args:
        names: Of the rows.
        figures: Each with the value, `low` and `high`.
        title: Of the axis.
        of: The key of the value.
        prefix: Of the keys of the ends.
    """
    values = [figure[of] for figure in figures]
    trace = dots(None, values, [label(name) for name in names])
    axis = {"autorange": "reversed", "type": "category", "title": "", "showgrid": False}
    plain = plot([with_intervals(trace, figures, "x", prefix)], title, axis, height=110 + 34 * len(names))
    if of == "difference":
        plain["layout"]["shapes"] = [vertical(0.0, "@text")]
    return plain


def vertical(x: float, tone: str = "@muted") -> Plot:
    """A dashed line from bottom to top."""
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": tone, "width": 1, "dash": "dash"},
    }


def thinned(n: int, most: int = 200) -> list[int]:
    """Places of a long series that are enough to draw it, the first and the last among them."""
    if n <= most:
        return list(range(n))
    return sorted({round(at * (n - 1) / (most - 1)) for at in range(most)})
