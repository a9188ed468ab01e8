"""CPU seconds, memory, and tables that set a figure beside its bar."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple, TypeVar

T = TypeVar("T")


class Took(NamedTuple):
    """Seconds of one action: of CPU in all threads of this process, and on the wall's clock."""

    cpu: float
    wall: float


def took(action: Callable[[], T], times: int = 1) -> tuple[Took, T]:
    """The least of ``times`` runs, and what the last of them returned."""
    if times < 1:
        raise ValueError(f"times={times} arrived; wanted: at least 1")
    cpu, wall = [], []
    for _ in range(times):
        start_cpu, start = time.process_time(), time.perf_counter()
        result = action()
        cpu.append(time.process_time() - start_cpu)
        wall.append(time.perf_counter() - start)
    return Took(min(cpu), min(wall)), result


def table(title: str, head: Iterable[str], lines: Iterable[Iterable[str]]) -> None:
    """Prints a table in Markdown."""
    names = list(head)
    print(f"\n{title}\n\n| {' | '.join(names)} |\n|{'---|' * len(names)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")
    print(flush=True)


def at_most(figure: float, bar: float, form: str = ".1f", unit: str = "") -> str:
    """The figure and its bar, and whether it is missed."""
    return f"{figure:{form}}{unit} (bar {bar:g}{unit}{', missed' if figure > bar else ''})"


def at_least(figure: float, bar: float, form: str = ",.0f", unit: str = "") -> str:
    """The same where more is better."""
    return f"{figure:{form}}{unit} (bar {bar:,g}{unit}{', missed' if figure < bar else ''})"


def machine() -> str:
    """What these figures were measured on."""
    return (
        f"{len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}, "
        f"Python {platform.python_version()}"
    )


def peak_mb() -> float:
    """The most memory that this process has had resident, in MB."""
    return resident_mb([os.getpid()], peak=True)


def resident_mb(pids: Iterable[int], peak: bool = False) -> float:
    """Resident memory of processes together, now or at its highest, in MB."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    kb = 0
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        kb += sum(int(line.split()[1]) for line in lines if line.startswith(wanted))
    return kb / 1024


def cpu_s(pids: Iterable[int]) -> float:
    """CPU seconds that processes have used since they began."""
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def family(pid: int) -> list[int]:
    """A process and all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(each for child in children for each in family(int(child)))]
