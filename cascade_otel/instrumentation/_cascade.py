"""``cascade``: the calls of a whole cascade, as a decorator and as a ``with`` block."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from opentelemetry.trace import SpanKind

from cascade_otel import semconv
from cascade_otel.instrumentation import _values
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._counters import Attributes
from cascade_otel.instrumentation._series import MOST_PREPARED, Labels, cascade_labels
from cascade_otel.instrumentation._site import F, Site


class Cascade(Site[OpenCascade]):
    """What ``cascade(...)`` gives: a decorator, and a context manager."""

    call = OpenCascade

    def __init__(
        self,
        name: str | None,
        task: str | Callable[..., str] | None,
        version: str | Callable[..., str] | None,
        segment: str | Callable[..., str] | None,
        input_size: int | Callable[..., int] | None,
        purpose: str | Callable[..., str] | None,
        from_result: Callable[[Any, OpenCascade], object] | None,
    ) -> None:
        super().__init__(name)
        self.chosen = (task, purpose, version)
        self.constant = None if any(map(callable, self.chosen)) else self.chosen
        self.segment, self.input_size, self.from_result = segment, input_size, from_result
        self.labels: dict[tuple[Any, ...], Labels] = {}

    def prepare(self, call: OpenCascade, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Finds the labels of this task and starts the span."""
        said = self.constant or tuple(self.ask(one, args, kwargs) for one in self.chosen)
        key = (self.name, *said)
        try:
            labels = self.labels.get(key)
        except TypeError:  # unhashable, so no name either
            labels = None
        call.labels = labels or self.prepare_labels(key)
        attributes = call.labels.spans
        if self.segment is not None or self.input_size is not None:
            call.described = described(
                self.checked(_values.name, self.ask(self.segment, args, kwargs)),
                self.checked(_values.size, self.ask(self.input_size, args, kwargs)),
            )
            attributes = {**attributes, **call.described}
        call.start(call.labels.span_name, SpanKind.INTERNAL, attributes)

    def prepare_labels(self, key: tuple[Any, ...]) -> Labels:
        """What is the same for all calls of this task, purpose and version."""
        clean = [self.checked(_values.name, each) for each in key]
        labels = cascade_labels(clean[0] or "cascade", *clean[1:])
        if tuple(clean) == key and len(self.labels) < MOST_PREPARED:
            self.labels[key] = labels
        return labels


def described(segment: str | None, size: int | None) -> Attributes:
    """What the user says of a call's input, for all its spans."""
    attributes: Attributes = {}
    if segment is not None:
        attributes[semconv.INPUT_SEGMENT] = segment
    if size is not None:
        attributes[semconv.INPUT_SIZE] = size
    return attributes


@overload
def cascade(name: F, /) -> F: ...
@overload
def cascade(
    name: str | None = None,
    /,
    *,
    task: str | Callable[..., str] | None = None,
    version: str | Callable[..., str] | None = None,
    segment: str | Callable[..., str] | None = None,
    input_size: int | Callable[..., int] | None = None,
    purpose: str | Callable[..., str] | None = None,
    from_result: Callable[[Any, OpenCascade], object] | None = None,
) -> Cascade: ...
def cascade(
    name: Any = None,
    /,
    *,
    task: Any = None,
    version: Any = None,
    segment: Any = None,
    input_size: Any = None,
    purpose: Any = None,
    from_result: Any = None,
) -> Any:
    """Records a cascade's calls: ``@cascade``, ``@cascade(task=...)`` or ``with cascade("extract") as
    call:``.

    ``task`` is what one threshold is set for, by default the cascade's name, which by default is the
    function's. ``version`` is your own configuration or prompt version, ``segment`` the kind of input (its
    language, its source; never text), ``input_size`` its length in a unit of yours, ``purpose`` production
    (the default), audit or canary. Each is a value, or a callable of the call's arguments.
    ``from_result(result, call)`` reads the cascade's own result, for libraries that only tell afterwards:
    ``call.visit("small").confidence = result.p``.

    What cannot be used is left out, counted, and logged once: nothing of this raises into your code.
    """
    plain = name is None or isinstance(name, str)
    site = Cascade(name if plain else None, task, version, segment, input_size, purpose, from_result)
    return site if plain else site(name)
