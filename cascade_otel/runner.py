"""``Runner``: a cascade for each task, as ``cascade.toml`` says, for those who have none yet."""

from __future__ import annotations

import inspect
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cascade_otel import policy, semconv
from cascade_otel.instrumentation import _values
from cascade_otel.instrumentation._audit import Audit
from cascade_otel.instrumentation._cascade import cascade
from cascade_otel.instrumentation._guard import warn_once
from cascade_otel.instrumentation._scorer import annotate
from cascade_otel.instrumentation._shapes import code_of
from cascade_otel.instrumentation._tier import tier
from cascade_otel.policy import PolicyError, TaskPolicy, TierPolicy
from cascade_otel.policy.places import Place

A = TypeVar("A")
_log = logging.getLogger(semconv.SCOPE)


class Runner(Generic[A]):
    """Asks the tiers of a task in their order, until one is confident enough; records all of it.

    ``runner("organic", product)`` calls the first tier of the task organic with ``product``. Where the
    confidence of its answer is at least the tier's τ, that answer is returned. Else the next tier is asked
    with the same arguments; so too after an exception, an answer of None, or one whose confidence is
    missing or no number between 0 and 1. The last tier's answer is returned whatever its confidence, and
    what it raises is raised.

    Args:
        path: a ``cascade.toml``. It says for each task the ``tiers``, their ``threshold`` or
            ``thresholds``, ``audit_rate``, ``audit_cost_per_day`` and ``version``, and for each tier the
            ``model``, ``provider`` and ``kind``. It is read once. A task that is not in it is run as
            ``[defaults]`` says, if that names tiers and a threshold.
        tiers: the function of each tier, plain: the runner decorates it. If one of a task's is
            ``async def``, that task is awaited: ``await runner(...)``.
        confidence: of an answer, 0 to 1: a string is its attribute or key, a callable gets it. It is read
            once for each answer.
        cost: of an answer, in US dollars, in the same way; without it as for ``tier``.
        agree: ``agree(cheap_answer, strong_answer)`` says whether two answers are the same, for escalated
            and audited calls.
        name: the name of the cascade.

    Raises:
        PolicyError: with file and line, a key that is unknown or impossible, or a tier that is not given;
            when called, a task that has no tiers.
        TypeError: a tier that is a generator function: what is half read cannot be judged.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tiers: Mapping[str, Callable[..., A]],
        *,
        confidence: str | Callable[[Any], Any],
        cost: str | Callable[[Any], Any] | None = None,
        agree: Callable[[Any, Any], bool] | None = None,
        name: str = "cascade",
    ) -> None:
        for each, function in tiers.items():
            if any(map(_is_stream, code_of(function))):
                raise TypeError(f"tier {each!r} streams; a function that returns its whole answer is wanted")
        self._path, self._tiers, self._name, self._cost, self._agree = path, tiers, name, cost, agree
        self._read = _values.attribute(confidence) if isinstance(confidence, str) else confidence
        file = Place(os.fspath(path), policy.read(os.fspath(path)))
        self._policy = policy.parse(file.text, file.name)
        _check(file.at("defaults"), self._policy.defaults, tiers)
        for task, said in self._policy.tasks.items():
            _check(file.at("tasks").at(task), said, tiers)
        self._of_task = {
            task: self._cascade(task, said) for task, said in self._policy.tasks.items() if said.tiers
        }
        defaults = self._policy.defaults
        runnable = defaults.tiers and all(
            defaults.threshold_of(each) is not None for each in defaults.tiers[:-1]
        )
        self._of_others = self._cascade(_first, defaults) if runnable else None

    def __call__(self, task: str, /, *args: Any, **kwargs: Any) -> A:
        """The answer of the first tier that is confident enough; an awaitable of it where one is async."""
        run = self._of_task.get(task, self._of_others)
        if run is None:
            known = ", ".join(map(repr, self._of_task)) or "none"
            raise PolicyError(
                f"{self._path}: task {task!r} has no tiers, nor have [defaults] tiers and a threshold; "
                f'tasks that have: {known}; wanted: tiers = ["small", "large"] and threshold = 0.8'
            )
        answer: A = run(task, *args, **kwargs)
        return answer

    def _cascade(self, task: str | Callable[..., str], said: TaskPolicy) -> Callable[..., Any]:
        """The recorded cascade of a task: a function of the task's name and the tiers' arguments."""
        steps = [self._step(said, index) for index in range(len(said.tiers))]
        codes = [code for each in said.tiers for code in code_of(self._tiers[each])]
        driven = _async if any(map(inspect.iscoroutinefunction, codes)) else _plain
        run, strongest = driven(steps, self._confidence)
        audit = None
        if said.audit_rate > 0.0 and len(steps) > 1:
            audit = Audit(said.audit_rate, strongest, max_cost_per_day=said.audit_cost_per_day)
        site = cascade(self._name, task=task, version=said.version, agree=self._agree, audit=audit)
        return site(run)

    def _step(self, said: TaskPolicy, index: int) -> _Step:
        name = said.tiers[index]
        is_a, threshold = self._policy.tiers.get(name, TierPolicy()), said.threshold_of(name)
        recorded = tier(
            name,
            model=is_a.model,
            provider=is_a.provider,
            kind=is_a.kind,
            threshold=threshold,
            cost=self._cost,
            index=index,
        )
        # as the recording side cleans it: ``annotate`` looks for that name
        return _Step(_values.name(name), recorded(self._tiers[name]), threshold)

    def _confidence(self, step: _Step, answer: Any) -> float | None:
        """The confidence of an answer, also recorded; None where it is missing or cannot be used."""
        if answer is None:
            return None
        try:
            value = self._read(answer)
        except Exception as error:
            message = "the confidence of tier '%s' cannot be read (%s): such an answer escalates"
            warn_once("confidence", step.tier, message, step.tier, type(error).__qualname__)
            return None
        annotate(confidence=value, tier=step.tier)
        try:
            return _values.probability(value)
        except (TypeError, ValueError):
            return None


@dataclass(frozen=True)
class _Step:
    """A tier as one task asks it."""

    tier: str
    ask: Callable[..., Any]
    threshold: float | None

    def passed_by(self, confidence: float | None) -> bool:
        """Whether an answer of this confidence stands."""
        return confidence is not None and self.threshold is not None and confidence >= self.threshold

    def failed(self) -> None:
        """Says in the log what the telemetry, which holds no texts, does not."""
        _log.debug("tier '%s' failed: the next one is asked", self.tier, exc_info=True)


_Confidence = Callable[[_Step, Any], float | None]


def _plain(steps: Sequence[_Step], confidence: _Confidence) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The cascade over plain functions, and its last tier alone."""
    *cheap, last = steps

    def run(task: str, /, *args: Any, **kwargs: Any) -> Any:
        for step in cheap:
            try:
                answer = step.ask(*args, **kwargs)
            except Exception:
                step.failed()
                continue
            if step.passed_by(confidence(step, _whole(step, answer))):
                return answer
        return strongest(task, *args, **kwargs)

    def strongest(_: str, /, *args: Any, **kwargs: Any) -> Any:
        answer = last.ask(*args, **kwargs)
        confidence(last, _whole(last, answer))
        return answer

    return run, strongest


def _async(steps: Sequence[_Step], confidence: _Confidence) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The same where some of the functions are ``async def``."""
    *cheap, last = steps

    async def run(task: str, /, *args: Any, **kwargs: Any) -> Any:
        for step in cheap:
            try:
                answer = await _awaited(step.ask(*args, **kwargs))
            except Exception:
                step.failed()
                continue
            if step.passed_by(confidence(step, answer)):
                return answer
        return await strongest(task, *args, **kwargs)

    async def strongest(_: str, /, *args: Any, **kwargs: Any) -> Any:
        answer = await _awaited(last.ask(*args, **kwargs))
        confidence(last, answer)
        return answer

    return run, strongest


async def _awaited(answer: Any) -> Any:
    return await answer if inspect.isawaitable(answer) else answer


def _whole(step: _Step, answer: Any) -> Any:
    if inspect.isawaitable(answer):
        raise TypeError(
            f"tier {step.tier!r} returned an awaitable, and is no `async def`; wanted: "
            "async def ask(...): return await ...; or an answer"
        )
    return answer


def _check(place: Place, said: TaskPolicy, given: Mapping[str, object]) -> None:
    """Every tier has a function. What a task takes from the defaults is checked there, before."""
    for name in said.tiers:
        if name not in given:
            raise place.at("tiers").error(
                f"names {name!r}, for which no function is given; given are: {', '.join(map(repr, given))}"
            )


def _is_stream(code: Callable[..., Any]) -> bool:
    return inspect.isgeneratorfunction(code) or inspect.isasyncgenfunction(code)


def _first(task: str, /, *_: Any, **__: Any) -> str:
    return task
