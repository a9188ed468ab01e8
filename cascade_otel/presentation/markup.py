"""Sentences as HTML. Every text is escaped here: names of tasks and models are other people's."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from cascade_otel.presentation import words
from cascade_otel.presentation.sentences import Line, Tone

COLOURS: dict[Tone, str] = {
    "bad": "213,94,0",
    "warn": "230,159,0",
    "good": "0,158,115",
    "plain": "128,140,150",
}
_WORDS: dict[Tone, str] = {"bad": "Alert", "warn": "Notice", "good": "Quiet", "plain": "Note"}
_RANK: tuple[Tone, ...] = ("bad", "warn", "good", "plain")


def banner(lines: Sequence[Line], chosen: str | None = None) -> str:
    """The lines as one block in the colour of the worst; tasks link to their page of a ``chosen`` range."""
    tone: Tone = min((line.tone for line in lines), key=_RANK.index, default="plain")
    rows = "".join(f'<div style="margin:.15rem 0">{_line(line, chosen)}</div>' for line in lines)
    return (
        f'<div role="status" aria-label="{_WORDS[tone]}" style="border-left:5px solid rgb({COLOURS[tone]});'
        f"background:rgba({COLOURS[tone]},.12);border-radius:4px;padding:.6rem .9rem;line-height:1.45;"
        f'overflow-wrap:anywhere">{rows}</div>'
    )


def text(content: str, small: bool = True) -> str:
    """A plain paragraph."""
    size = "font-size:.87rem;opacity:.78;" if small else ""
    return f'<p style="{size}margin:0;overflow-wrap:anywhere">{escape(content)}</p>'


def heading(title: str, note: str = "") -> str:
    """A chart's heading: what it shows, and in smaller letters how to read it."""
    return (
        f'<div style="line-height:1.3;overflow-wrap:anywhere"><strong>{escape(title)}</strong>'
        f'<span style="font-size:.85rem;opacity:.75"> {escape(note)}</span></div>'
    )


def task_address(task: str, chosen: str) -> str:
    """The address of a task's page, relative to the first screen."""
    return f"task?task={quote(task, safe='')}&range={quote(chosen, safe='')}"


def links(tasks: Sequence[str], chosen: str) -> str:
    """Tasks, each with a link to its page of a ``chosen`` range."""
    return f'<div style="overflow-wrap:anywhere">{", ".join(_link(task, chosen) for task in tasks)}</div>'


def _line(line: Line, chosen: str | None) -> str:
    if line.task is None:
        return escape(line.text)
    if chosen is None:
        return f"<strong>{escape(words.name(line.task))}</strong> {escape(line.text)}"
    return f"{_link(line.task, chosen)} {escape(line.text)}"


def _link(task: str, chosen: str) -> str:
    address = escape(task_address(task, chosen), quote=True)
    style = "color:inherit;text-decoration:underline;text-underline-offset:3px"
    name = escape(words.name(task))
    return f'<a href="{address}" target="_self" style="{style}"><strong>{name}</strong></a>'
