"""Every reason for which something is left out is in the table of names."""

from __future__ import annotations

import re
from typing import get_args

from cascade_otel import semconv
from cascade_otel.instrumentation._guard import Reason
from tests.instrumentation.toys import ROOT


def test_the_table_knows_every_reason_and_no_other() -> None:
    batches = (ROOT / "cascade_otel" / "configure" / "_batches.py").read_text()
    of_the_queue = set(re.findall(r'_lost\("(\w+)"', batches))
    assert set(get_args(Reason)) | of_the_queue == set(semconv.DROP_REASONS)
