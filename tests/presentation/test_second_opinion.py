from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from cascade_otel.presentation import second_opinion
from cascade_otel.presentation.second_opinion import METHODS, MethodPages, SecondOpinion, SecondOpinions
from cascade_otel.records import UserError
from cascade_otel.storage.state import State

PAGES_OF_A = (MethodPages("psi", 4, 2, 22), MethodPages("es", 12, 5, 20))
PAGES_OF_B = (MethodPages("psi", 0, 0, 22), MethodPages("es", 0, 0, 0))
COUNTED = SecondOpinions(
    20_400,
    20_430,
    {"psi": 0.1, "es": 0.05},
    (
        SecondOpinion("a", ("confidence", "escalated"), 22, 1, PAGES_OF_A),
        SecondOpinion("b\n", ("escalated",), 22, 0, PAGES_OF_B),
    ),
    left_out=3,
)


def test_methods_are_read_in_order_and_once() -> None:
    assert second_opinion.methods(" psi,wasserstein ,psi,") == ("psi", "wasserstein")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("psi,wassertein", "has no method of Evidently's called 'wassertein'"),
        ("chisquare", "called 'chisquare'"),
        ("PSI", "called 'PSI'"),
        ("", "names none"),
        (" , ", "names none"),
    ],
)
def test_a_method_there_is_not_is_an_error_that_lists_those_there_are(text: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        second_opinion.methods(text)
    assert said in str(caught.value)
    assert all(name in str(caught.value) for name in METHODS)


def test_the_methods_are_all_that_evidently_has_for_numbers() -> None:
    """Read from its source, since importing it takes seconds."""
    spec = find_spec("evidently")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "legacy" / "calculations" / "stattests"
    assert tuple(sorted(_numerical(folder))) == tuple(sorted(METHODS))


def _numerical(folder: Path) -> set[str]:
    names = set()
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or getattr(node.func, "id", "") != "StatTest":
                continue
            given = {one.arg: one.value for one in node.keywords}
            if "Numerical" in ast.unparse(given["allowed_feature_types"]):
                names.add(str(ast.literal_eval(given["name"])))
    return names


def test_the_table_has_a_row_for_each_task_and_a_total() -> None:
    told = second_opinion.lines(COUNTED)
    assert told[0].startswith("Pages each would have sent, ")
    assert [line.split() for line in told[1:5]] == [
        ["task", "days", "ours", "psi", "es"],
        ["a", "22", "1", "4", "12"],
        ["b□", "22", "0", "0", "-"],
        ["all", "1", "4", "12"],
    ]
    assert len({len(line) for line in told[1:5]}) == 1
    assert told[5] == "3 tasks are left out: there was no time for them."
    assert "psi 0.1, es 0.05" in told[6]


def test_what_is_kept_comes_back_the_same(tmp_path: Path) -> None:
    with State(tmp_path / "state.sqlite") as state:
        assert second_opinion.kept(state) is None
        second_opinion.keep(state, COUNTED, 490_000)
        assert second_opinion.kept(state) == (490_000, COUNTED)


def test_a_tasks_rows_put_the_detector_first() -> None:
    one = second_opinion.of_task(COUNTED, "a")
    assert one is not None
    table = second_opinion.frame(one, COUNTED.thresholds)
    assert table["who"].tolist() == ["the detector", "Evidently, psi", "Evidently, es"]
    assert table["pages"].tolist() == [1, 4, 12]
    assert second_opinion.of_task(COUNTED, "nosuch") is None
