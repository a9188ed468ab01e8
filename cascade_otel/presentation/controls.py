"""What a visitor chooses. The address says what is chosen: it is set from the choice, the choice from it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from cascade_otel.presentation import words
from cascade_otel.presentation.periods import DEFAULT, RANGES


def chosen_range() -> str:
    """The control of the range, and which one is chosen."""
    _follow_address("range", tuple(RANGES), DEFAULT)
    return str(
        st.segmented_control(
            "Range",
            list(RANGES),
            key="range",
            required=True,
            on_change=_tell_address,
            args=("range",),
            label_visibility="collapsed",
        )
    )


def chosen_task(tasks: Sequence[str]) -> str | None:
    """The control of the task, and which one is chosen: the first unless the address names another.

    None where the address names one that there is not.
    """
    _follow_address("task", tasks, None if "task" in st.query_params else tasks[0])
    chosen: str | None = st.selectbox(
        "Task",
        tasks,
        # With an index it cannot be emptied, without one it starts empty.
        index=None if st.session_state["task"] is None else 0,
        placeholder="Choose a task",
        format_func=words.name,
        key="task",
        on_change=_tell_address,
        args=("task",),
        label_visibility="collapsed",
    )
    return chosen


def _follow_address(name: str, options: Sequence[str], otherwise: str | None) -> None:
    asked = st.query_params.get(name)
    st.session_state[name] = asked if asked in options else otherwise


def _tell_address(name: str) -> None:
    st.query_params[name] = st.session_state[name]
