from collections.abc import Iterator
from pathlib import Path

import pytest

from cascade_otel.storage.reading.rollup import Reader, open_reader
from tests.analysis import made_up
from tests.analysis.made_up import changed

TASKS = {
    "model": changed(easy_low=0.3, hard_low=0.8, response_model="small-2"),
    "version": changed(easy_low=0.3, hard_low=0.8, version="8"),
    "hidden": changed(easy_low=0.3, hard_low=0.8),
    "inputs": changed(hard=0.6),
    "threshold": changed(threshold=0.92),
    "shape": changed(accepted=(0.82, 1.0, 1.0, 1.0)),
    "shape by model": changed(accepted=(0.82, 1.0, 1.0, 1.0), response_model="small-2"),
    "steady": made_up.STEADY,
    "moved elsewhere": changed(response_model="small-2"),
}


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """A store of three weeks in which most tasks changed 48 hours before the end, each in its own way."""
    frames = made_up.history(TASKS)
    for frame in frames:
        if (frame["task"] == "hidden").all():
            # The model was changed, but ten days before.
            early = frame["start_ns"] < (made_up.END - 240) * made_up.HOUR_NS
            frame["cheap_response_model"] = early.map({True: "small-0", False: "small-1"})
    store = made_up.write(Path(tmp_path_factory.mktemp("stores")) / "changed", frames)
    with open_reader(store) as found:
        yield found
