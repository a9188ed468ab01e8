"""The dashboard: two pages over one store. ``CASCADE_OTEL_STORE=… streamlit run dashboard/app.py``."""

from __future__ import annotations

import streamlit as st

st.set_page_config(page_title="cascade-otel", layout="wide", menu_items={"About": "cascade-otel"})
pages = [
    st.Page("views/now.py", title="Now", default=True),
    st.Page("views/task.py", title="Task", url_path="task"),
]
st.navigation(pages, position="top").run()
