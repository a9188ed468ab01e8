"""``cascade``: the calls of a whole cascade, as a decorator and as a ``with`` block."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, overload

from opentelemetry.trace import SpanKind

from cascade_otel import semconv
from cascade_otel.instrumentation import _values
from cascade_otel.instrumentation._calls import CANARY
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._counters import Attributes
from cascade_otel.instrumentation._series import MOST_PREPARED, Labels, cascade_labels
from cascade_otel.instrumentation._site import F, Site
from cascade_otel.instrumentation._tier_call import OpenTier
from cascade_otel.instrumentation._visits import Visit

if TYPE_CHECKING:
    from cascade_otel.instrumentation._audit import Audit


class Cascade(Site[OpenCascade]):
    """What ``cascade(...)`` gives: a decorator, and a context manager."""

    call = OpenCascade

    def __init__(
        self,
        name: str | None,
        *,
        task: str | Callable[..., str] | None = None,
        version: str | Callable[..., str] | None = None,
        segment: str | Callable[..., str] | None = None,
        input_size: int | Callable[..., int] | None = None,
        purpose: str | Callable[..., str] | None = None,
        canary_id: str | Callable[..., str] | None = None,
        from_result: Callable[[Any, OpenCascade], object] | None = None,
        agree: Callable[[Any, Any], bool] | None = None,
        audit: Audit | None = None,
    ) -> None:
        super().__init__(name)
        if audit is not None and not hasattr(audit, "consider"):
            audit = self.checked(_no_audit, audit)
        self.chosen = (task, purpose, version)
        self.constant = None if any(map(callable, self.chosen)) else self.chosen
        self.about = (segment, input_size, canary_id)
        self.describes = any(each is not None for each in self.about)
        self.from_result, self.agree, self.audit = from_result, agree, audit
        self.keeps_answers = agree is not None or audit is not None
        self.labels: dict[Any, Labels] = {}

    def prepare(self, call: OpenCascade, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Finds the labels of this task and starts the span."""
        said: tuple[Any, ...] = self.constant or tuple(
            self.ask(one, args, kwargs, what=what)
            for one, what in zip(self.chosen, ("task", "purpose", "version"), strict=True)
        )
        key: Any = self.name if self.constant else (self.name, *said)
        canary = call.context.get(CANARY)
        if canary is not None:
            said = said[0], semconv.PURPOSES[2], said[2]
            key = self.name, *said
        try:
            labels = self.labels.get(key)
        except TypeError:  # unhashable, so no name either
            labels = None
        call.labels = labels or self.prepare_labels(key, said)
        attributes = call.labels.spans
        if self.describes:
            call.described = self.describe(args, kwargs)
            attributes = {**attributes, **call.described}
        if canary:
            call.described = {**(call.described or {}), semconv.CANARY_ID: str(canary)}
            attributes = {**attributes, **call.described}
        if self.audit is not None:
            call.arguments = args, kwargs
        if call.context and isinstance(outer := call.enclosing, OpenTier):
            call.around = outer
        call.start(call.labels.span_name, SpanKind.INTERNAL, attributes)

    def describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attributes:
        """What is said of this call's input."""
        segment, size, canary = (
            self.ask(one, args, kwargs, what=what)
            for one, what in zip(self.about, ("segment", "input_size", "canary_id"), strict=True)
        )
        return described(
            self.checked(_values.name, segment),
            self.checked(_values.size, size),
            self.checked(_values.name, canary),
        )

    def prepare_labels(self, key: Any, said: tuple[Any, ...]) -> Labels:
        """What is the same for all calls of this task, purpose and version."""
        named = (self.name, *said)
        name, task, purpose, version = named
        clean = (
            self.checked(_values.name, name),
            self.checked(_values.name, task),
            self.checked(_values.purpose, purpose),
            self.checked(_values.name, version),
        )
        labels = cascade_labels(clean[0] or "cascade", *clean[1:])
        if clean == named and len(self.labels) < MOST_PREPARED:
            self.labels[key] = labels
        return labels

    def compare(self, visits: list[Visit[OpenTier]]) -> None:
        """Says of each answer whether it agreed with the strongest tier's."""
        known = answered(visits)
        for call in known[1:]:
            call.agreed = self.agreement(call.answer, known[0].answer)

    def agreement(self, answer: Any, stronger: Any) -> bool | None:
        """What the user's own comparison says; None where it fails."""
        return self.checked(_values.truth, self.ask(self.agree, (answer, stronger), what="agree"))


def _no_audit(value: Any) -> None:
    raise TypeError(f"audit={value!r} arrived where Audit(rate, run) is wanted")


def answered(visits: list[Visit[OpenTier]]) -> list[OpenTier]:
    """The calls whose answers are known, those of the strongest tier first."""
    strongest_first = sorted(visits, key=lambda visit: -visit.index)
    standing = [visit.stands for visit in strongest_first]
    return [call for call in standing if call is not None and call.answer is not None]


def described(segment: str | None, size: int | None, canary: str | None = None) -> Attributes:
    """What the user says of a call's input, for all its spans."""
    attributes: Attributes = {}
    if segment is not None:
        attributes[semconv.INPUT_SEGMENT] = segment
    if size is not None:
        attributes[semconv.INPUT_SIZE] = size
    if canary is not None:
        attributes[semconv.CANARY_ID] = canary
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
    canary_id: str | Callable[..., str] | None = None,
    from_result: Callable[[Any, OpenCascade], object] | None = None,
    agree: Callable[[Any, Any], bool] | None = None,
    audit: Audit | None = None,
) -> Cascade: ...
def cascade(name: Any = None, /, **said: Any) -> Any:
    """Records a cascade's calls: ``@cascade``, ``@cascade(task=...)`` or ``with cascade("extract") as
    call:``.

    ``task`` is what one threshold is set for, by default the cascade's name, which by default is the
    function's. ``version`` is your own configuration or prompt version, ``segment`` the kind of input (its
    language, its source; never text), ``input_size`` its length in a unit of yours, ``purpose`` production
    (the default), audit or canary, ``canary_id`` which stored prompt is asked again. Each is a value, or a
    callable of the call's arguments.

    ``from_result(result, call)`` reads the cascade's own result, for libraries that only tell afterwards:
    ``call.visit("small").confidence = result.p``.

    ``agree(answer, stronger)`` says whether a tier's answer is as good as that of the strongest tier which
    answered in the same call; it runs in the call, so keep it short. ``audit`` has a stronger tier asked
    about a share of the answers that were accepted, too.

    What cannot be used is left out, counted, and logged once: nothing of this raises into your code.
    """
    if name is None or isinstance(name, str):
        return Cascade(name, **said)
    return Cascade(None, **said)(name)
