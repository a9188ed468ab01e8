"""One task: since when, why, does confidence mean what it says, where could τ be, which calls were it."""

from __future__ import annotations

import os
import time

import pandas as pd
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
    words,
)
from cascade_otel.presentation import second_opinion as opinions
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
    if page.verdict.is_group:
        group(page, colours, chosen)
        return

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

    if told.pays:
        st.html(markup.heading("Does it pay", f"the summary's verdict, {over.name}"))
        st.html(markup.text(told.pays))

    streams(page)
    calls(page)


def why(page: task_page.TaskPage, place: source.Source, colours: vega.Palette) -> None:
    """The parts of the change, and what to type where it is meant to stay."""
    st.html(markup.heading("Why", "parts of the change" if page.verdict.effects else ""))
    if page.verdict.effects:
        chart(figures.cause(page.verdict.effects, colours), "Parts of the change in percentage points")
    st.html(markup.text(sentences.why(page.verdict)))
    if together := sentences.part_of_group(page.verdict):
        st.html(markup.text(together))
    if compared := sentences.reference(page.baseline):
        st.html(markup.text(compared))
    if page.verdict.since_hour is not None:
        st.html(markup.text("If it is meant to stay, take it as the new normal:"))
        st.code(sentences.accept_command(page.verdict.task, str(place.store)), language="sh", wrap_lines=True)


def group(page: task_page.TaskPage, colours: vega.Palette, chosen: str) -> None:
    """Tasks that moved together: which, how far each, and why."""
    wide, narrow = st.columns([5, 2])
    with wide.container(border=True, height="stretch"):
        st.html(markup.heading("Tasks that moved together", sentences.part_of_group(page.verdict)))
        watched(page.members, "task", "Task", "Tasks that moved together")
        lead = page.verdict.lead
        st.html(markup.links(lead.tasks if lead else (), chosen))
    with narrow.container(border=True, height="stretch"):
        st.html(markup.heading("Why", "of most of them" if page.verdict.effects else ""))
        if page.verdict.effects:
            chart(figures.cause(page.verdict.effects, colours), "Parts of the change in percentage points")
        st.html(markup.text(sentences.why(page.verdict)))


def streams(page: task_page.TaskPage) -> None:
    """What the detector judges of the task, and how near each is to a page."""
    if page.streams.empty:
        return
    st.html(markup.heading("What is watched", "evidence in percent of what a page needs"))
    watched(page.streams, "stream", "Stream", "What is watched")


def watched(rows: pd.DataFrame, first: str, title: str, alt: str) -> None:
    """What was measured before and now, and how near it is to a page; ``first`` is the first column."""
    column = st.column_config
    st.dataframe(
        rows,
        hide_index=True,
        placeholder="–",
        alt=alt,
        column_config={
            first: column.TextColumn(title),
            "state": column.TextColumn("State"),
            "before": column.TextColumn("Reference", alignment="right"),
            "now": column.TextColumn("Now", alignment="right"),
            "evidence": column.ProgressColumn("Evidence", format="%.0f%%", min_value=0, max_value=100),
            "since": column.TextColumn("Since"),
        },
    )


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


def second_opinion(place: source.Source, version: str, task: str) -> None:
    """How many pages Evidently's methods would have sent, as counted last; else how to count them."""
    found = cached.second_opinion(place, version)
    title = "Pages Evidently would have sent"
    one = opinions.of_task(found[1], task) if found else None
    if found is None or one is None:
        st.html(markup.heading(title, "beside the detector's, over 30 days"))
        st.html(markup.text("Counted when you ask for it:"))
    else:
        st.html(markup.heading(title, f"{sentences.second_opinion(one)} Counted {words.hour(found[0])}."))
        column = st.column_config
        st.dataframe(
            opinions.frame(one, found[1].thresholds),
            hide_index=True,
            width="content",
            placeholder="–",
            alt="Pages by method",
            column_config={
                "who": column.TextColumn("Who"),
                "pages": column.NumberColumn("Pages"),
                "spells": column.NumberColumn("Spells", help="Days in a row counted as one"),
                "days": column.NumberColumn("Days judged"),
                "threshold": column.NumberColumn("Evidently's threshold", format="%.2f"),
            },
        )
        st.html(markup.text(opinions.HOW_COUNTED))
    st.code(sentences.second_opinion_command(str(place.store)), language="sh", wrap_lines=True)


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
            "psi": column.NumberColumn("PSI", format="%.3f"),
            "wasserstein": column.NumberColumn("Wasserstein / sd", format="%.3f"),
            "jensenshannon": column.NumberColumn("Jensen-Shannon", format="%.3f"),
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
        if not cached.task(place, version, chosen, over).verdict.is_group:
            second_opinion(place, version, chosen)
            report(place, chosen)
