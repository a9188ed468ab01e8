"""A configuration per attribute: ``Runner`` and cascade.toml, with toy models. No key, no network.

python examples/per_attribute.py [STORE]   # writes into the folder STORE, else sends, as two_tiers.py does
"""

from __future__ import annotations

import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from cascade_otel import Runner, configure

PRODUCTS = ["oat milk", "rye bread", "lemonade", "granola"]
SMALL = {"organic": (0.93, 0.97), "low_sugar": (0.9, 0.4), "vegan": (0.92, 0.9)}  # how sure, how often right
toss = random.Random(17)


@dataclass
class Answer:
    text: str
    confidence: float
    cost: float
    by: str


def ask_small(product: str, attribute: str) -> Answer:
    sureness, accuracy = SMALL[attribute]
    confidence = min(max(toss.gauss(sureness, 0.06), 0.0), 1.0)
    text = "yes" if toss.random() < accuracy else "no"
    return Answer(text, confidence, cost=0.0001, by="small")


def ask_large(product: str, attribute: str) -> Answer:
    return Answer("yes", 0.98, cost=0.002, by="large")


def same(answer: Answer, stronger: Answer) -> bool:
    return answer.text == stronger.text


extract = Runner(
    Path(__file__).with_name("cascade.toml"),
    {"small": ask_small, "large": ask_large},
    confidence="confidence",
    cost="cost",
    agree=same,
    name="extract",
)

if __name__ == "__main__":
    telemetry = configure(store=sys.argv[1] if len(sys.argv) > 1 else None, service_name="per-attribute")
    for attribute in SMALL:
        answers = [extract(attribute, toss.choice(PRODUCTS), attribute) for _ in range(60)]
        by = Counter(answer.by for answer in answers)
        print(f"{attribute}: {by['large']} of {len(answers)} calls were escalated")
    if not telemetry.flush(5.0):
        sys.exit("not sent: is the receiver running? `cascade-otel serve --store ./telemetry` starts one")
