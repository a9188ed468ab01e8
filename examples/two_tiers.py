"""Two tiers with toy models: no key, no network.

cascade-otel serve --store ./telemetry     # in another terminal, then
python examples/two_tiers.py               # sends to OTEL_EXPORTER_OTLP_ENDPOINT, else to 127.0.0.1:4318
python examples/two_tiers.py ./telemetry   # or, without a receiver: writes into the store's folder itself
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass

from cascade_otel import cascade, configure, tier

PRODUCTS = ["oat milk", "rye bread", "lemonade", "granola"]
ATTRIBUTES = {"organic": 0.95, "low_sugar": 0.75}  # how sure the small model usually is
toss = random.Random(7)


@dataclass
class Answer:
    text: str
    confidence: float
    model: str
    usage: dict[str, int]


def toy_model(model: str, product: str, attribute: str, sureness: float) -> Answer:
    """Stands for a call of a provider's client; its answer has the usual fields."""
    confidence = min(max(toss.gauss(sureness, 0.1), 0.0), 1.0)
    tokens = {"input_tokens": 40 + len(product), "output_tokens": 5}
    return Answer(f"{product} is {attribute}", confidence, f"{model}-2025-08-07", tokens)


@tier("small", model="gpt-5-nano", cost=0.0001, threshold=0.8, confidence=lambda answer: answer.confidence)
def small(product: str, attribute: str) -> Answer:
    return toy_model("gpt-5-nano", product, attribute, ATTRIBUTES[attribute])


@tier("large", model="gpt-5", cost=0.002)
def large(product: str, attribute: str) -> Answer:
    return toy_model("gpt-5", product, attribute, 0.97)


@cascade(task=lambda product, attribute: attribute)
def extract(product: str, attribute: str) -> Answer:
    answer = small(product, attribute)
    return answer if answer.confidence >= 0.8 else large(product, attribute)


if __name__ == "__main__":
    telemetry = configure(store=sys.argv[1] if len(sys.argv) > 1 else None, service_name="two-tiers")
    for attribute in ATTRIBUTES:
        answers = [extract(toss.choice(PRODUCTS), attribute) for _ in range(50)]
        escalated = sum(answer.model.startswith("gpt-5-2025") for answer in answers)
        print(f"{attribute}: {escalated} of {len(answers)} calls were escalated")
    if not telemetry.flush(5.0):
        sys.exit("not sent: is the receiver running? `cascade-otel serve --store ./telemetry` starts one")
