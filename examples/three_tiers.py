"""Three tiers with toy models: on the device, hosted and cheap, frontier. No key, no network.

python examples/three_tiers.py [STORE]   # writes into the folder STORE, else sends, as two_tiers.py does
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from dataclasses import dataclass

from cascade_otel import cascade, configure, tier

DEVICE_READS_UP_TO = 300  # characters
toss = random.Random(11)


@dataclass
class Answer:
    intent: str
    confidence: float
    by: str


def toy_model(by: str, message: str, seconds: float, skill: float) -> Answer:
    """The longer the message, the less sure; stronger models are slower."""
    time.sleep(seconds)
    sureness = toss.gauss(skill - len(message) / 2_000, 0.08)
    return Answer("refund" if "back" in message else "question", min(max(sureness, 0.0), 1.0), by)


# The index says the order of tiers: without it a long message, which the device never sees, would make the
# hosted model the first tier.
@tier("device", index=0, model="llama-3.2-1b", cost=0.0, threshold=0.9, confidence="confidence")
def device(message: str) -> Answer:
    return toy_model("device", message, seconds=0.001, skill=1.0)


@tier("hosted", index=1, model="gpt-5-nano", cost=0.0002, threshold=0.75, confidence="confidence")
def hosted(message: str) -> Answer:
    return toy_model("hosted", message, seconds=0.004, skill=0.95)


@tier("frontier", index=2, model="gpt-5", cost=0.004, confidence="confidence")
def frontier(message: str) -> Answer:
    return toy_model("frontier", message, seconds=0.01, skill=0.99)


@cascade(task="intent", input_size=len)
def classify(message: str) -> Answer:
    if len(message) <= DEVICE_READS_UP_TO:
        answer = device(message)
        if answer.confidence >= 0.9:
            return answer
    answer = hosted(message)
    return answer if answer.confidence >= 0.75 else frontier(message)


if __name__ == "__main__":
    telemetry = configure(store=sys.argv[1] if len(sys.argv) > 1 else None, service_name="three-tiers")
    messages = ["I want my money back. " * toss.randint(1, 25) for _ in range(60)]
    answered = Counter(classify(message).by for message in messages)
    unseen = sum(len(message) > DEVICE_READS_UP_TO for message in messages)
    print(
        f"intent: of {len(messages)} messages {answered['device']} were answered on the device, "
        f"{answered['hosted']} hosted, {answered['frontier']} by the frontier; {unseen} never saw the device"
    )
    if not telemetry.flush(5.0):
        sys.exit("not sent: is the receiver running? `cascade-otel serve --store ./telemetry` starts one")
