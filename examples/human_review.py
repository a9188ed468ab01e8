"""Self-verification, then a human, whose verdict arrives later. Toy model: no key, no network.

python examples/human_review.py [STORE]   # writes into the folder STORE, else sends, as two_tiers.py does
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from cascade_otel import cascade, configure, feedback, scorer, tier

CHECKED_AT_RANDOM = 0.1  # share of accepted answers that a human looks at too
TRUE = {"oat milk": "yes", "rye bread": "no", "granola": "yes", "lemonade": "no"}
toss = random.Random(3)


@tier("model", model="gpt-5-nano", cost=0.0001, threshold=0.8)
def answer(product: str) -> str:
    right = toss.random() < 0.85
    return TRUE[product] if right else {"yes": "no", "no": "yes"}[TRUE[product]]


@scorer("model")
def verify(product: str, said: str) -> float:
    """Stands for a second prompt, "Is this answer right?", and the probability of its "yes"."""
    return min(max(toss.gauss(0.9 if said == TRUE[product] else 0.6, 0.1), 0.0), 1.0)


def put_into(queue: Path, trace_id: str, product: str, said: str, weight: float) -> None:
    with queue.open("a") as file:
        item = {"trace_id": trace_id, "product": product, "said": said, "weight": weight}
        file.write(json.dumps(item) + "\n")


@tier("human", kind="human")
def ask_human(queue: Path, trace_id: str, product: str, said: str) -> str:
    """Only the asking is recorded: a human takes hours, and no call waits so long."""
    put_into(queue, trace_id, product, said, weight=1.0)
    return "in review"


def is_organic(queue: Path, product: str) -> str:
    with cascade("review", task="organic") as call:
        said = answer(product)
        if verify(product, said) < 0.8:
            return ask_human(queue, call.trace_id, product, said)
    if toss.random() < CHECKED_AT_RANDOM:  # no escalation, but a sample: it stands for ten such calls
        put_into(queue, call.trace_id, product, said, weight=1 / CHECKED_AT_RANDOM)
    return said


def review(queue: Path) -> list[bool]:
    """Hours later, usually in another process: the verdict is on the model's answer, by its trace id."""
    verdicts = []
    for line in queue.read_text().splitlines():
        item = json.loads(line)
        correct = item["said"] == TRUE[item["product"]]
        feedback(
            item["trace_id"],
            "model",
            correct,
            "reviewer",
            item["weight"],
            cascade="review",
            task="organic",
        )
        verdicts.append(correct)
    return verdicts


if __name__ == "__main__":
    telemetry = configure(store=sys.argv[1] if len(sys.argv) > 1 else None, service_name="human-review")
    with TemporaryDirectory() as folder:
        queue = Path(folder) / "queue.jsonl"
        answers = [is_organic(queue, toss.choice(list(TRUE))) for _ in range(80)]
        verdicts = review(queue)
    escalated = answers.count("in review")
    print(f"organic: {escalated} of {len(answers)} answers went to a human")
    print(f"organic: {verdicts.count(True)} of {len(verdicts)} reviewed answers were right")
    if not telemetry.flush(5.0):
        sys.exit("not sent: is the receiver running? `cascade-otel serve --store ./telemetry` starts one")
