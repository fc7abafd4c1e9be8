"""Figures as plotly.js takes them: plain `data` and `layout`. A color `@name` is the style sheet's `--c-name`.

Only traces that plotly draws as SVG are used. They look the same in print, need no WebGL, and work under a content
security policy without `unsafe-eval`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

Plot = dict[str, Any]
N_COLORS = 7
# Their numbers have no common divisor, so that the combination of dash, symbol and color repeats after 35 series.
_DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
_MAX_TICKS = 8  # as many fit beside each other on a phone
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")


def escape_label(text: Any) -> str:
    """Escape a text of the data for a figure: plotly interprets some HTML tags in labels."""
    return escape(" ".join(str(text).split()), quote=False)


def color(index: int) -> str:
    """The color of a series."""
    return f"@{index % N_COLORS + 1}"


def symbol(index: int) -> str:
    """The marker symbol of a series."""
    return _SYMBOLS[index % len(_SYMBOLS)]


def plot(traces: Sequence[Plot], x_axis: Any, y_axis: Any, *, height: int = 340, **layout: Any) -> Plot:
    """A figure.

    Args:
        traces: What it shows; with a legend if any trace has a name.
        x_axis: The title, or settings of plotly's axis with a `title`.
        y_axis: Likewise.
        height: In pixels.
        **layout: Further settings of plotly's layout.
    """
    settings: Plot = {
        "height": height,
        "showlegend": any("name" in trace for trace in traces),
        "xaxis": _axis(x_axis),
        "yaxis": _axis(y_axis),
    }
    return {"data": list(traces), "layout": settings | layout}


def _axis(settings: Any) -> Plot:
    if isinstance(settings, str):
        settings = {"title": settings}
    axis_settings = dict(settings)
    axis_settings["title"] = {"text": escape_label(axis_settings.get("title", ""))}
    return axis_settings


def whole_number_axis(title: str, values: Sequence[float]) -> Plot:
    """An axis of numbers of epochs, trials and the like, with ticks at whole numbers only.

    Plotly would put ticks at 1.5 and 2.5 if there are few of them.

    Args:
        title: The title.
        values: The coordinates along the axis.
    """
    length = max(values, default=0) - min(values, default=0)
    steps = (multiple * 10**exponent for exponent in range(10) for multiple in (1, 2, 5))
    step = next(step for step in steps if length <= _MAX_TICKS * step)
    return {"title": title, "tick0": 0, "dtick": step, "tickformat": ",d"}


def _named(trace: Plot, name: str | None) -> Plot:
    return trace if name is None else trace | {"name": escape_label(name)}


def line(
    name: str | None,
    x: Sequence[Any],
    y: Sequence[Any],
    index: int = 0,
    *,
    markers: bool | None = None,
    **settings: Any,
) -> Plot:
    """A line. Series differ in color, dash pattern and marker symbol, each of which identifies them alone.

    Args:
        name: The name in the legend, if any.
        x: Coordinates.
        y: Coordinates.
        index: Number of the series, which determines its look.
        markers: Whether points are marked; None: if there are at most 60.
        **settings: Further settings of plotly's trace.
    """
    if markers is None:
        markers = len(x) <= 60  # more of them touch each other
    trace: Plot = {
        "type": "scatter",
        "mode": "lines+markers" if markers else "lines",
        "x": list(x),
        "y": list(y),
        "line": {"color": color(index), "width": 2, "dash": _DASHES[index % len(_DASHES)]},
        "marker": {"color": color(index), "size": 6, "symbol": symbol(index)},
    }
    return _named(trace, name) | settings


def points(name: str | None, x: Sequence[Any], y: Sequence[Any], index: int = 0, *, marker: Plot | None = None) -> Plot:
    """Points without a line; `marker` overrides settings of plotly's marker."""
    marker_style = {"color": color(index), "size": 8, "symbol": symbol(index)} | (marker or {})
    trace: Plot = {"type": "scatter", "mode": "markers", "x": list(x), "y": list(y), "marker": marker_style}
    return _named(trace, name)


def bars(name: str | None, x: Sequence[Any], y: Sequence[Any], index: int = 0, *, horizontal: bool = False) -> Plot:
    """Bars; horizontal ones have their categories in `y`."""
    trace: Plot = {"type": "bar", "x": list(x), "y": list(y), "marker": {"color": color(index)}}
    if horizontal:
        trace["orientation"] = "h"
    return _named(trace, name)


def with_intervals(trace: Plot, figures: Sequence[Mapping[str, Any]], axis: str = "y", prefix: str = "") -> Plot:
    """The trace with an error bar for each point.

    Args:
        trace: A trace whose values along `axis` lie within the intervals.
        figures: For each point, the ends of its interval as `low` and `high`; None or NaN if unknown.
        axis: "x" or "y".
        prefix: Prefix of these keys, such as `difference_`.
    """
    upper_errors = []
    lower_errors = []
    for value, figure in zip(trace[axis], figures, strict=True):
        low = figure.get(f"{prefix}low")
        high = figure.get(f"{prefix}high")
        if low is None or high is None or math.isnan(low) or math.isnan(high):
            # A bar of length 0 cannot be seen.
            low = value
            high = value
        upper_errors.append(high - value)
        lower_errors.append(value - low)
    error_bars = {
        "type": "data",
        "symmetric": False,
        "array": upper_errors,
        "arrayminus": lower_errors,
        "thickness": 1.5,
        "width": 4,
        "color": trace["marker"]["color"],
    }
    return trace | {f"error_{axis}": error_bars}


def band(x: Sequence[Any], figures: Sequence[Mapping[str, Any]], index: int = 0) -> Plot:
    """The area between the ends of intervals along a line, in the color of its series.

    Args:
        x: Coordinates of the points of the line.
        figures: For each point, the ends of its interval as `low` and `high`; points without them are left out.
        index: Number of the series.
    """
    ends = [
        (coordinate, figure["low"], figure["high"])
        for coordinate, figure in zip(x, figures, strict=True)
        if figure["low"] is not None and figure["high"] is not None
    ]
    there = [coordinate for coordinate, _, _ in ends]
    upper = [high for _, _, high in ends]
    lower = [low for _, low, _ in ends]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": there + there[::-1],
        "y": upper + lower[::-1],
        "fill": "toself",
        "fillcolor": color(index),
        "line": {"width": 0, "color": color(index)},
        "opacity": 0.15,
        "hoverinfo": "skip",
        "showlegend": False,
    }


def forest(
    names: Sequence[str],
    figures: Sequence[Mapping[str, Any]],
    title: str,
    *,
    value_key: str = "value",
    prefix: str = "",
) -> Plot:
    """A forest plot: values with their intervals, one below the other.

    Args:
        names: Names of the rows, from the top.
        figures: For each row the value and the ends of its interval, `low` and `high`.
        title: Title of the axis.
        value_key: Key of the value.
        prefix: Prefix of the keys of the ends.
    """
    values = [figure[value_key] for figure in figures]
    trace = points(None, values, [escape_label(label) for label in names])
    axis_settings = {"autorange": "reversed", "type": "category", "title": "", "showgrid": False}
    height = 110 + 34 * len(names)
    forest_plot = plot([with_intervals(trace, figures, "x", prefix)], title, axis_settings, height=height)
    if value_key == "difference":  # a difference of 0 is the point of reference
        forest_plot["layout"]["shapes"] = [vertical_line(0.0, "@text")]
    return forest_plot


def vertical_line(x: float, line_color: str = "@muted") -> Plot:
    """A dashed line over the whole height of a figure."""
    return {
        "type": "line",
        "x0": x,
        "x1": x,
        "yref": "paper",
        "y0": 0,
        "y1": 1,
        "line": {"color": line_color, "width": 1, "dash": "dash"},
    }


def thin_out(n: int, n_points: int = 200) -> list[int]:
    """At most `n_points` evenly spaced indices of a series of length `n`, the first and the last among them."""
    if n <= n_points:
        return list(range(n))
    return sorted({round(point_number * (n - 1) / (n_points - 1)) for point_number in range(n_points)})
