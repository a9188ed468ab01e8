"""What audits in flight may come to cost: as much each as the dearest so far, whatever the last one cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from cascade_otel import Audit, cascade, tier
from cascade_otel.testing import Recorded


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end, "nothing happened for 10 s"
        time.sleep(0.002)


def test_a_cheap_audit_after_a_dear_one_makes_no_room_for_more(seen: Recorded) -> None:
    """.04 of .1 are spent: two more at .03 each may run, six at the last one's .01 may not."""
    go, costs = threading.Event(), [0.03, 0.01]
    go.set()

    @tier("small", cost=0.001)
    def small() -> int:
        return 1

    @tier("large", cost=lambda _: costs.pop(0) if costs else 0.01)
    def large() -> int:
        assert go.wait(10)
        return 1

    audit = Audit(1.0, large, max_in_flight=100, max_cost_per_day=0.1)

    @cascade("extract", audit=audit)
    def extract() -> int:
        return small()

    for spent in (0.03, 0.04):
        extract()
        until(lambda: audit._in_flight == 0)
        assert round(audit._spent, 9) == spent
    go.clear()
    for _ in range(10):
        extract()
    in_flight = audit._in_flight
    go.set()
    until(lambda: audit._in_flight == 0)
    assert in_flight == 2
