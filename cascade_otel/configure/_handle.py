"""What ``configure`` gives back, and what watches over its exporters."""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from time import monotonic
from typing import Any, TypeAlias, TypeVar

from cascade_otel import semconv
from cascade_otel.instrumentation._calls import hand_on_late

E = TypeVar("E")
Step: TypeAlias = Callable[[float], object]
"""Hands something on within so many seconds. False: it was not taken, or not in time."""
_GRACE_S = 0.25  # a step that keeps to its time still says what it lost
_AFTER_ALL_OTHERS = -100  # of multiprocessing's finalisers, which have -5 and more
_log = logging.getLogger(semconv.SCOPE)


class Handle:
    """What ``configure`` gives: hand on what waits, now or for good. ``shutdown`` is called at exit.

    At exit means: of the interpreter, and of a child of ``multiprocessing``, which ends by ``os._exit``. The
    work is done by a thread of its own, since the SDK ignores time-outs; no thread can be started at exit.
    """

    def __init__(self, flushes: list[Step], shutdowns: list[Step], exit_s: float) -> None:
        self._flushes, self._shutdowns, self._exit_s = flushes, shutdowns, exit_s
        self._start()
        atexit.register(self._at_exit)
        from multiprocessing import util  # a tenth of a second that importing us does not cost

        # a child forgets its finalisers once it has begun, and calls this after that
        util.register_after_fork(self, Handle._before_child_ends)
        if hasattr(os, "register_at_fork"):  # not on Windows
            os.register_at_fork(after_in_child=self._start)

    def flush(self, timeout_s: float = 2.0) -> bool:
        """Exports what waits. False where that took over ``timeout_s`` seconds, or where something was not
        taken (refused, folder gone) since the last flush.
        """
        return self._within(timeout_s, self._flushes)

    def shutdown(self, timeout_s: float = 2.0) -> bool:
        """Exports what waits, then no more. False as for ``flush``."""
        atexit.unregister(self._at_exit)
        steps, self._flushes, self._shutdowns = self._shutdowns, [], []
        done = self._within(timeout_s, steps)
        self._orders.put(None)  # the thread ends
        return done

    def _at_exit(self) -> None:
        self.shutdown(self._exit_s)

    def _before_child_ends(self) -> None:
        from multiprocessing import util

        if self._shutdowns:
            util.Finalize(self, self._at_exit, exitpriority=_AFTER_ALL_OTHERS)

    def _start(self) -> None:
        self._orders: SimpleQueue[tuple[list[Step], float, Future[bool]] | None] = SimpleQueue()
        if self._shutdowns:
            threading.Thread(target=self._work, name="cascade_otel", daemon=True).start()

    def _work(self) -> None:
        for steps, until, answer in iter(self._orders.get, None):
            # every step, also after one that failed
            results = [_done(step, max(0.0, until - monotonic())) for step in steps]
            answer.set_result(all(results))

    def _within(self, seconds: float, steps: list[Step]) -> bool:
        if not steps:
            return True
        until, answer = monotonic() + seconds, Future[bool]()
        done = False
        try:
            hand_on_late()
            self._orders.put((steps, until, answer))
            done = answer.result(seconds + _GRACE_S)
        except TimeoutError:
            pass  # said below, as where the steps themselves kept to the time
        except Exception:
            _log.warning("telemetry could not be handed on; your code is unaffected", exc_info=True)
        if not done and monotonic() >= until:
            _log.warning("telemetry was not handed on within %g s: does the collector answer?", seconds)
        return done


def _done(step: Step, seconds: float) -> bool:
    try:
        return step(seconds) is not False
    except BaseException:  # SystemExit too, which would end the thread, and every later flush with it
        _log.warning("telemetry could not be handed on; your code is unaffected", exc_info=True)
        return False


class Watch:
    """Makes exporters, and remembers whether one failed, since processors and readers do not tell."""

    failed = False

    def on(self, make: Callable[[], E]) -> E:
        """The exporter that ``make`` gives, with an export that never raises.

        In a forked child another one takes its place at the first export: over the connection of its parent
        a child would mix its bytes with its parent's.
        """
        exporter = make()
        facade: Any = exporter
        export, shutdown, process = facade.export, facade.shutdown, os.getpid()

        def watched(*args: Any, **kwargs: Any) -> Any:
            nonlocal export, shutdown, process
            result = None
            try:
                if process != os.getpid():
                    own: Any = make()
                    export, shutdown, process = own.export, own.shutdown, os.getpid()
                result = export(*args, **kwargs)
            except BaseException:  # SystemExit too, which would end the thread that exports
                _log.warning("telemetry was not exported; your code is unaffected", exc_info=True)
            self.failed |= getattr(result, "name", "") != "SUCCESS"
            return result

        facade.export = watched
        facade.shutdown = lambda *args, **kwargs: shutdown(*args, **kwargs)
        return exporter

    def all_taken(self, _: float = 0.0) -> bool:
        """Whether none has failed since this was last asked."""
        failed, self.failed = self.failed, False
        return not failed
