"""``Audit``: a stronger tier is asked, beside the caller's path, about a random share of accepted answers."""

from __future__ import annotations

import inspect
import os
import threading
from collections.abc import Callable
from contextvars import copy_context
from time import monotonic, time
from types import CoroutineType
from typing import Any
from weakref import WeakSet

from opentelemetry.context import Context, attach

from cascade_otel import semconv
from cascade_otel.instrumentation._calls import outside
from cascade_otel.instrumentation._cascade import Cascade, answered
from cascade_otel.instrumentation._cascade_call import OpenCascade
from cascade_otel.instrumentation._counters import Attributes
from cascade_otel.instrumentation._guard import Guard, warn_once
from cascade_otel.instrumentation._shapes import Begin, code_of, driven
from cascade_otel.instrumentation._tier_call import OpenTier
from cascade_otel.instrumentation._visits import Visit

DAY_S = 86_400
AUDIT = semconv.PURPOSES[1]
Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Audit:
    """``@cascade(agree=same, audit=Audit(0.02, large))`` checks accepted answers against a stronger tier.

    Args:
        rate: share of accepted calls, above 0 and at most 1; an audit stands for 1/rate of them.
        run: called with the cascade's own arguments after the call: in a thread, or, if it is a coroutine
            function and an event loop runs here, as a task of that loop. It must call a tier. What it
            returns is the host's no more, what it raises is the audit's failure, never the caller's.
        max_in_flight: audits running at once; a call beyond is not audited, and counted as dropped.
        max_cost_per_day: USD that the audits of a UTC day may cost in this process. Until a first cost is
            known one audit runs at a time; if it stays unknown, audits end. One whose cost is unknown
            counts as the dearest so far.

    An audit is recorded under the call's own trace with ``cascade.purpose`` audit: it counts in no rate,
    cost or latency of production. Audits that still run when their event loop or the program ends are lost.

    Raises:
        ValueError: a rate, number or amount out of range.
        TypeError: ``run`` is not callable, or a generator function.
    """

    def __init__(
        self,
        rate: float,
        run: Callable[..., Any],
        *,
        max_in_flight: int = 4,
        max_cost_per_day: float | None = None,
    ) -> None:
        if not 0.0 < rate <= 1.0:
            raise ValueError(
                f"rate={rate!r} arrived, a share above 0 and up to 1 is wanted: Audit(0.02, run)"
            )
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight={max_in_flight!r} arrived, a whole number from 1 on is wanted")
        if max_cost_per_day is not None and not max_cost_per_day > 0.0:
            raise ValueError(f"max_cost_per_day={max_cost_per_day!r} arrived, US dollars above 0 are wanted")
        if not callable(run):
            raise TypeError(f"run={run!r} arrived, a function that calls a stronger tier is wanted")
        if any(
            inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in code_of(run)
        ):
            raise TypeError(f"run={run!r} streams; a function that returns its whole answer is wanted")
        self.rate, self.run = rate, run
        self.max_in_flight, self.max_cost_per_day = max_in_flight, max_cost_per_day
        self.tiers: set[str] = set()  # that audits have asked: their own answers need no audit
        self._guard = Guard("audit", run)
        self._lock = threading.Lock()
        self._in_flight = 0
        self._day, self._spent = 0, 0.0
        self._dearest: float | None = None  # what one that is in flight may come to cost
        self._over = False
        _audits.add(self)

    def consider(self, site: Cascade, call: OpenCascade, final: Visit[OpenTier]) -> None:
        """Starts the audit of a call whose answer was accepted, if one is due."""
        production = semconv.CASCADE_PURPOSE not in call.labels.spans
        if production and final.tier not in self.tiers and self.draw():
            with self._guard:
                answer = None if final.stands is None else final.stands.answer
                beside = Audited(site, call, answer, 1.0 / self.rate)
                self.start(beside.begin, outside(call.context), call.arguments or ((), {}))

    def draw(self) -> bool:
        """Whether an accepted call is to be audited. If so, ``start`` must follow."""
        if int.from_bytes(os.urandom(7), "big") >= self.rate * 2**56:  # not the host's seeded draws
            return False
        with self._lock:
            free = self._in_flight < self.max_in_flight and self._affordable()
            self._in_flight += free
        if not free:
            self._guard.count()
        return free

    def _affordable(self) -> bool:
        if self.max_cost_per_day is None:
            return True
        today = int(time() // DAY_S)
        if today != self._day:
            self._day, self._spent = today, 0.0
        if self._dearest is None:
            return self._in_flight == 0 and not self._over
        return self._spent + self._dearest * (self._in_flight + 1) <= self.max_cost_per_day

    def start(self, begin: Begin, context: Context, arguments: Arguments) -> None:
        """Runs the audit in the background, as the cascade call that ``begin`` opens under ``context``."""
        calls: list[Any] = []
        args, kwargs = arguments

        def opened(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            calls.append(begin(args, kwargs))
            return calls[-1]

        run = driven(self.run, opened)

        def ended() -> None:
            self._ended(calls[0] if calls and isinstance(calls[0], OpenCascade) else None)

        def task_ended(task: Any) -> None:
            _tasks.discard(task)
            if task.cancelled():
                self._guard.count()
                message = "audits by %s were cancelled: their event loop has ended before them"
                warn_once("audit cancelled", self.run, message, self.run)
            ended()

        def in_thread() -> None:
            try:
                with self._guard:
                    attach(context)
                    result = run(*args, **kwargs)
                    if type(result) is CoroutineType:
                        import asyncio

                        asyncio.run(result)
            finally:
                _threads.discard(threading.current_thread())
                ended()

        async def in_loop() -> None:
            with self._guard:
                attach(context)
                try:
                    await run(*args, **kwargs)
                except (SystemExit, KeyboardInterrupt) as error:  # else it would end the host's loop
                    raise RuntimeError(f"an audit's run raised {error!r}") from error

        loop = _running_loop() if inspect.iscoroutinefunction(run) else None
        thread = threading.Thread(target=in_thread, name="cascade-audit", daemon=True)
        try:
            if loop is None:
                _threads.add(thread)
                thread.start()
            else:
                task = loop.create_task(in_loop(), context=copy_context())
                _tasks.add(task)
                task.add_done_callback(task_ended)
        except RuntimeError as error:  # at exit no thread can be started
            _threads.discard(thread)
            ended()
            self._guard.caught(error)

    def _ended(self, call: OpenCascade | None) -> None:
        asked = [] if call is None else sorted(call.visits.by_tier.values(), key=lambda visit: visit.index)
        cost = None if call is None else call.cost
        with self._lock:
            self._in_flight -= 1
            if asked:
                self.tiers.add(asked[-1].tier)
                if cost is not None:
                    self._dearest = max(cost, self._dearest or 0.0)
                    self._spent += cost
                elif self._dearest is not None:  # it has surely cost something
                    self._spent += self._dearest
                else:
                    self._over = True
        if call is not None and not asked:
            warn_once("audit", self.run, "an audit called no tier: its run must call a function under @tier")
        elif self._over and self.max_cost_per_day is not None:
            message = "audits end: they have a daily budget, and what they cost is unknown: give tiers a cost"
            warn_once("audit cost", self.run, message)

    def after_fork(self) -> None:
        """None runs in a child yet."""
        self._lock, self._in_flight = threading.Lock(), 0


class Audited(Cascade):
    """An audit's own cascade call: what it asks is compared with the answer that was accepted."""

    def __init__(self, site: Cascade, call: OpenCascade, accepted: Any, weight: float) -> None:
        said = call.labels.spans.get
        version = said(semconv.CASCADE_VERSION)
        super().__init__(
            str(said(semconv.CASCADE_NAME)),
            task=str(said(semconv.CASCADE_TASK)),
            version=None if version is None else str(version),
            purpose=AUDIT,
            agree=site.agree,
        )
        self.accepted, self.describes = accepted, True
        self.said = {**(call.described or {}), semconv.AUDIT_WEIGHT: weight}

    def describe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Attributes:
        """What was said of the audited call's input, and how many calls the audit stands for."""
        return self.said

    def compare(self, visits: list[Visit[OpenTier]]) -> None:
        """Says of the strongest answer whether the accepted one agreed with it."""
        for strongest in answered(visits)[:1]:
            strongest.agreed = self.agreement(self.accepted, strongest.answer)


_audits: WeakSet[Audit] = WeakSet()
_tasks: set[Any] = set()  # asyncio itself keeps only weak references to them
_threads: set[threading.Thread] = set()


def wait_for_audits(timeout_s: float) -> None:
    """Returns when none runs in a thread, at the latest after ``timeout_s`` seconds."""
    until = monotonic() + timeout_s
    for thread in tuple(_threads):
        if thread.ident is not None:  # it has started
            thread.join(max(0.0, until - monotonic()))


def _running_loop() -> Any:
    import asyncio

    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _after_fork() -> None:
    _threads.clear()
    for audit in tuple(_audits):
        audit.after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_after_fork)
