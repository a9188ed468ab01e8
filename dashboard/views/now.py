"""Is anything wrong, with which task, since when, why, and what does it cost?"""

from __future__ import annotations

import os
import time

import streamlit as st

from cascade_otel.presentation import (
    cached,
    controls,
    empty,
    figures,
    frames,
    markup,
    periods,
    sentences,
    source,
    vega,
)
from cascade_otel.records import HOUR_NS, UserError


@cached.refreshed
def screen(place: source.Source, chosen: str) -> None:
    """Everything below the range, drawn anew every half minute."""
    now_ns = time.time_ns()
    try:
        version = cached.version(place)
        known, seen = cached.reach(place, version), cached.watch(place, version)
    except UserError as error:
        st.html(markup.banner([sentences.Line("bad", None, str(error))]))
        return
    if known is None:
        st.html(markup.banner(sentences.banner(seen, 0, None, now_ns), chosen))
        st.html(markup.text(empty.TITLE, small=False))
        st.code(empty.commands(place), language="sh")
        return
    over = cached.shown(place, version, chosen, now_ns // HOUR_NS)
    page = cached.now(place, version, over)
    st.html(markup.banner(sentences.banner(seen, len(page.tasks), known, now_ns), chosen))
    for column, tile in zip(st.columns(len(page.tiles)), page.tiles, strict=True):
        metric(column, tile)
    st.html(markup.heading("Tasks", sentences.reading(over, known, now_ns)))
    table(page, chosen)
    if page.worst is not None:
        worst(place, version, page.worst, over)


def metric(column: st.delta_generator.DeltaGenerator, tile: frames.Tile) -> None:
    """One number with its trend."""
    column.metric(
        tile.label,
        tile.value,
        tile.note or None,
        delta_color="off",
        delta_arrow="off",
        chart_data=tile.trend or None,
        chart_type="bar" if tile.bars else "line",
        border=True,
        height="stretch",
        help=tile.help,
    )


def table(page: frames.Now, chosen: str) -> None:
    """One row per task, the worst first; a click opens its page."""
    column = st.column_config
    event = st.dataframe(
        page.table,
        hide_index=True,
        on_select="rerun",
        selection_mode="single-cell",
        key="tasks",
        placeholder="–",
        alt="Tasks, the worst first",
        column_config={
            "state": column.MultiselectColumn(
                "State",
                options=list(page.states),
                color=list(page.states.values()),
                help=frames.STATE_HELP,
            ),
            "task": column.TextColumn("Task"),
            "now": column.NumberColumn("Now", format="%.1f%%", help=frames.NOW_HELP),
            "reference": column.NumberColumn("Reference", format="%.1f%%", help=frames.REFERENCE_HELP),
            "trend": column.LineChartColumn(
                "Trend", y_min=0, y_max=page.highest_rate, help=frames.TREND_HELP
            ),
            "since": column.TextColumn("Since"),
            "cause": column.TextColumn("Likely cause"),
            "change_per_day": column.TextColumn("Change a day", alignment="right", help=frames.CHANGE_HELP),
            "cost_per_day": column.NumberColumn("Cost a day", format="dollar"),
            "calls": column.NumberColumn("Calls", format="localized"),
        },
    )
    if event.selection.cells:
        task = page.tasks[event.selection.cells[0][0]]
        st.switch_page("views/task.py", query_params={"task": task, "range": chosen})


def worst(place: source.Source, version: str, task: str, over: periods.Period) -> None:
    """The worst task's time line and cause, so that one look says since when and why."""
    page = cached.task(place, version, task, over)
    colours = vega.palette(st.context.theme.type == "dark")
    wide, narrow = st.columns([5, 2])
    with wide.container(border=True, height="stretch"):
        st.html(markup.heading(sentences.title(task), sentences.reading_of_rate(page.escalation, over)))
        if page.escalation.points.empty:
            st.html(markup.text(sentences.no_rate(page.calls, over)))
        else:
            spec = figures.escalation(page.escalation, colours, 210)
            st.vega_lite_chart(spec, alt="Escalation rate by time")
    with narrow.container(border=True, height="stretch"):
        st.html(markup.heading("Why", "parts of the change"))
        if page.verdict.effects:
            st.vega_lite_chart(
                figures.cause(page.verdict.effects, colours), alt="Parts of the change in points"
            )
        st.html(markup.text(sentences.why(page.verdict)))


left, right = st.columns([3, 2], vertical_alignment="bottom")
left.title("Cascades now", anchor=False)
with right.container(horizontal=True, horizontal_alignment="right"):
    picked = controls.chosen_range()
screen(source.from_environment(os.environ), picked)
