"""Mixture of thought: 20 samples of the small tier vote, and their agreement is the confidence. Toy models.

Half the samples think in words, half in programs (Yue et al., "Large Language Model Cascades with Mixture
of Thought Representations", 2024). All samples of a call are one visit of the small tier.

python examples/mixture_of_thought.py [STORE]   # writes into the folder STORE, else sends, as two_tiers.py
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass

from cascade_otel import cascade, configure, scorer, tier
from cascade_otel.confidence import Vote, votes

SAMPLES = 20
TASKS = {"date": 0.2, "gsm8k": 0.45}  # how hard
toss = random.Random(13)


@dataclass
class Solution:
    answer: int
    by: str


@tier("small", model="gpt-3.5-turbo", cost=0.0005, threshold=0.6)
def sample(question: int, thought: str, hardness: float) -> int | None:
    """One answer at temperature > 0; a program may not run, and then votes for nothing."""
    if thought == "program" and toss.random() < 0.05:
        return None
    return question if toss.random() > hardness else question + toss.randint(1, 4)


@tier("large", model="gpt-4", cost=0.03)
def ask_large(question: int) -> Solution:
    return Solution(question, "large")


@scorer("small", confidence=lambda vote: vote.confidence)
def vote(question: int, hardness: float) -> Vote[int]:
    """Both kinds of thought vote together: the share of the most frequent answer is the confidence."""
    thoughts = ["words", "program"] * (SAMPLES // 2)
    return votes(sample(question, thought, hardness) for thought in thoughts)


@cascade(task=lambda task, question: task)
def solve(task: str, question: int) -> Solution:
    voted = vote(question, toss.uniform(0.0, 2 * TASKS[task]))
    if voted.answer is not None and voted.confidence is not None and voted.confidence >= 0.6:
        return Solution(voted.answer, "small")
    return ask_large(question)


if __name__ == "__main__":
    telemetry = configure(store=sys.argv[1] if len(sys.argv) > 1 else None, service_name="mixture-of-thought")
    for task in TASKS:
        solved = {question: solve(task, question) for question in range(30)}
        escalated = sum(solution.by == "large" for solution in solved.values())
        right = sum(question == solution.answer for question, solution in solved.items())
        print(f"{task}: {escalated} of {len(solved)} calls were escalated, {right} answers are right")
    if not telemetry.flush(5.0):
        sys.exit("not sent: is the receiver running? `cascade-otel serve --store ./telemetry` starts one")
