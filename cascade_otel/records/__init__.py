"""The frozen shapes that cross layers.

Times are integers since 1970-01-01 UTC: nanoseconds (``*_ns``) or whole hours (``*_hour``). Rates are
fractions; effects of a cause are in percentage points. Nothing here imports more than the standard
library.
"""

from __future__ import annotations

from cascade_otel.records.counts import (
    CELLS,
    LABELLED,
    HourCells,
    Measured,
    TaskHours,
    TierCall,
    Window,
)
from cascade_otel.records.findings import (
    ALL_TASKS,
    Alert,
    AlertStatus,
    Cause,
    CauseName,
    CauseProbability,
    Coincidence,
    Effect,
    Finding,
    Stream,
    TaskState,
    ToKnow,
)
from cascade_otel.records.thresholds import (
    AuditAdvice,
    ThresholdAdvice,
    ThresholdDay,
    ThresholdPoint,
)
from cascade_otel.records.units import (
    DAY_NS,
    HOUR_NS,
    SECOND_NS,
    UserError,
)
from cascade_otel.records.worth import (
    TaskSummary,
    TierSummary,
)

__all__ = [
    "ALL_TASKS",
    "CELLS",
    "DAY_NS",
    "HOUR_NS",
    "LABELLED",
    "SECOND_NS",
    "Alert",
    "AlertStatus",
    "AuditAdvice",
    "Cause",
    "CauseName",
    "CauseProbability",
    "Coincidence",
    "Effect",
    "Finding",
    "HourCells",
    "Measured",
    "Stream",
    "TaskHours",
    "TaskState",
    "TaskSummary",
    "ThresholdAdvice",
    "ThresholdDay",
    "ThresholdPoint",
    "TierCall",
    "TierSummary",
    "ToKnow",
    "UserError",
    "Window",
]
