"""FrugalGPT: a small trained scorer judges each answer after the call. Toy models: no key, no network.

The tier is an argument of one function, as in many cascades; the list of models and thresholds is what
FrugalGPT learns under a budget (Chen, Zaharia, Zou: "FrugalGPT", 2023).

python examples/frugal_scorer.py [STORE]   # writes into the folder STORE, else sends, as two_tiers.py does
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from cascade_otel import cascade, configure, scorer, tier

CHAIN = {"gpt-j": 0.9, "j1-large": 0.8, "gpt-4": 0.0}  # in order, each with its τ; the last always stands
USD = {"gpt-j": 0.0002, "j1-large": 0.003, "gpt-4": 0.03}
SKILL = {"gpt-j": 0.7, "j1-large": 0.85, "gpt-4": 0.97}
TASKS = {"headlines": 0.05, "overruling": 0.2}  # how hard
toss = random.Random(2)


@tier(
    lambda task, question, model: model,
    model=lambda task, question, model: model,
    threshold=lambda task, question, model: CHAIN[model],
    cost=lambda answer: USD[answer["model"]],
)
def ask(task: str, question: str, model: str) -> dict[str, str]:
    right = toss.random() < SKILL[model] - TASKS[task]
    return {"model": model, "text": "right" if right else "wrong"}


def judge(question: str, answer: dict[str, str]) -> float:
    """Stands for a small regression model over question and answer: g(q, a) in [0, 1]."""
    return min(max(toss.gauss(0.92 if answer["text"] == "right" else 0.6, 0.08), 0.0), 1.0)


SCORERS = {model: scorer(model)(judge) for model in CHAIN}


@cascade(task=lambda task, question: task)
def answer(task: str, question: str) -> dict[str, str]:
    for model, threshold in CHAIN.items():
        said = ask(task, question, model)
        if SCORERS[model](question, said) >= threshold:
            break
    return said


if __name__ == "__main__":
    telemetry = configure(store=sys.argv[1] if len(sys.argv) > 1 else None, service_name="frugal-scorer")
    for task in TASKS:
        answers = [answer(task, f"question {number}") for number in range(60)]
        by = Counter(each["model"] for each in answers)
        right = sum(each["text"] == "right" for each in answers)
        print(
            f"{task}: of {len(answers)} answers {by['gpt-j']} were gpt-j's, {by['j1-large']} j1-large's, "
            f"{by['gpt-4']} gpt-4's; {right} right"
        )
    if not telemetry.flush(5.0):
        sys.exit("not sent: is the receiver running? `cascade-otel serve --store ./telemetry` starts one")
