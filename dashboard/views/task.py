"""One task: since when, why, does confidence mean what it says, where could τ be, which calls were it."""

from __future__ import annotations

import os
import time

import streamlit as st

from cascade_otel.presentation import (
    cached,
    controls,
    drift_report,
    empty,
    figures,
    figures_labelled,
    markup,
    sentences,
    source,
    task_page,
    vega,
)
from cascade_otel.records import HOUR_NS, UserError


@cached.refreshed
def screen(place: source.Source, task: str, chosen: str) -> None:
    """Everything below the choice of task and range, drawn anew every half minute."""
    now_ns, version = time.time_ns(), cached.version(place)
    over = cached.shown(place, version, chosen, now_ns // HOUR_NS)
    page = cached.task(place, version, task, over)
    told = cached.labelled(place, task, over, page)
    colours = vega.palette(st.context.theme.type == "dark")
    st.html(markup.banner([sentences.task_line(page.verdict, now_ns)]))

    wide, narrow = st.columns([5, 2])
    with wide.container(border=True, height="stretch"):
        st.html(markup.heading("Escalation rate", sentences.reading_of_rate(page.escalation, over)))
        if page.escalation.points.empty:
            st.html(markup.text(sentences.no_rate(page.calls, over)))
        else:
            spec = figures.escalation(page.escalation, colours, 340)
            # The card is as high as its neighbour, however long that one's text is.
            st.vega_lite_chart(spec, width="stretch", height="stretch", alt="Escalation rate by time")
    with narrow.container(border=True, height="stretch"):
        why(page, place, colours)

    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.html(markup.heading("Confidence", page.confidence.note))
        if page.confidence.cells.empty:
            st.html(markup.text(sentences.NO_CONFIDENCE))
        else:
            chart(figures.confidence(page.confidence, colours), "Confidence, now and in the reference")
    with right.container(border=True, height="stretch"):
        st.html(markup.heading("Latency by path", sentences.reading_of_latency(page.latency, over)))
        if page.latency.cells.empty:
            st.html(markup.text(sentences.NO_CALLS))
        else:
            chart(figures.latency(page.latency, colours), "Latency of accepted and of escalated calls")

    left, right = st.columns(2)
    with left.container(border=True, height="stretch"):
        st.html(markup.heading("What if τ moved", told.deferral.note))
        if told.deferral.missing:
            st.html(markup.text(told.deferral.missing))
        else:
            chart(
                figures_labelled.deferral(told.deferral, colours), "Right answers by share of calls escalated"
            )
    with right.container(border=True, height="stretch"):
        st.html(markup.heading("Does confidence mean what it says", told.reliability.note))
        if told.reliability.missing:
            st.html(markup.text(told.reliability.missing))
        else:
            chart(figures_labelled.reliability(told.reliability, colours), "Accuracy by confidence")

    calls(page)


def why(page: task_page.TaskPage, place: source.Source, colours: vega.Palette) -> None:
    """The parts of the change, and what to type where it is meant to stay."""
    st.html(markup.heading("Why", "parts of the change" if page.verdict.effects else ""))
    if page.verdict.effects:
        chart(figures.cause(page.verdict.effects, colours), "Parts of the change in percentage points")
    st.html(markup.text(sentences.why(page.verdict)))
    if page.verdict.since_hour is not None:
        st.html(markup.text("If it is meant to stay, take it as the new normal:"))
        st.code(sentences.accept_command(page.verdict.task, str(place.store)), language="sh", wrap_lines=True)


def chart(spec: vega.Spec, alt: str) -> None:
    """One chart, as wide as its place."""
    st.vega_lite_chart(spec, width="stretch", alt=alt)


def calls(page: task_page.TaskPage) -> None:
    """The newest calls."""
    st.html(
        markup.heading("Last calls", "confidence and τ of the first tier; cost and latency of the whole call")
    )
    column = st.column_config
    st.dataframe(
        page.last_calls,
        hide_index=True,
        height=300,
        placeholder="",
        alt="Last calls",
        column_config={
            "time": column.DatetimeColumn("Time (UTC)", format="D MMM HH:mm:ss"),
            "path": column.TextColumn("Path"),
            "confidence": column.ProgressColumn("Confidence", format="%.2f", min_value=0, max_value=1),
            "threshold": column.NumberColumn("τ", format="%.2f"),
            "outcome": column.TextColumn("Outcome"),
            "cost": column.NumberColumn("Cost", format="$%.5f"),
            "latency": column.NumberColumn("Latency", format="%.2f s"),
            "model": column.TextColumn("Model"),
            "trace": column.TextColumn("Trace id"),
            "purpose": column.TextColumn("Purpose"),
        },
    )


def report(place: source.Source, task: str) -> None:
    """Evidently's drift report, where one was made; else how to make one."""
    found = drift_report.newest(place.state, task)
    st.html(
        markup.heading(
            "Evidently's drift report", found.note if found else "a second opinion; it never alerts"
        )
    )
    if found is None:
        st.code(sentences.report_command(task, str(place.store)), language="sh", wrap_lines=True)
        return
    column = st.column_config
    st.dataframe(
        found.columns,
        hide_index=True,
        width="content",
        alt="Evidently's scores",
        column_config={
            "column": column.TextColumn("Column"),
            "method": column.TextColumn("Method"),
            "score": column.NumberColumn("Score", format="%.3f"),
            "threshold": column.NumberColumn("Evidently's threshold", format="%.2f"),
            "drifted": column.CheckboxColumn("Drifted"),
        },
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        st.download_button(
            "Download",
            found.html.read_bytes,
            file_name="drift-report.html",
            mime="text/html",
            on_click="ignore",
        )
        opened = st.toggle("Show it here", key="report")
    if opened:
        st.iframe(found.html, height=900, alt="Evidently's drift report")


place = source.from_environment(os.environ)
left, right = st.columns([3, 2], vertical_alignment="bottom")
with right.container(horizontal=True, horizontal_alignment="right"):
    picked = controls.chosen_range()
try:
    version = cached.version(place)
    over = cached.shown(place, version, picked, time.time_ns() // HOUR_NS)
    tasks = cached.tasks(place, version, over) if place.exists else ()
except UserError as error:
    st.html(markup.banner([sentences.Line("bad", None, str(error))]))
    st.stop()
if not tasks:
    st.html(markup.text(empty.TITLE, small=False))
    st.code(empty.commands(place), language="sh")
else:
    with left:
        chosen = controls.chosen_task(tasks)
    if chosen is None:
        st.html(markup.banner([sentences.no_task(st.query_params["task"], over)]))
    else:
        screen(place, chosen, picked)
        report(place, chosen)
