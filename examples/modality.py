"""Text first, the picture too where the text is ambiguous; with toy models: no key, no network.

python examples/modality.py [STORE]   # writes into the folder STORE, else sends, as two_tiers.py does
"""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass

from cascade_otel import cascade, configure, tier

COLOURS = ("red", "green", "blue")
toss = random.Random(5)


@dataclass
class Listing:
    title: str
    picture: bytes


@dataclass
class Answer:
    colour: str
    confidence: float


@tier("text", model="gpt-5-nano", cost=0.0001, threshold=0.7, confidence="confidence")
def read_text(listing: Listing) -> Answer | None:
    """None where the text names no colour, little confidence where it names several."""
    named = [colour for colour in COLOURS if colour in listing.title]
    return Answer(named[0], 0.95 / len(named)) if named else None


@tier("text and picture", kind="multimodal", model="gpt-5", cost=0.003, confidence="confidence")
def look_at_picture(listing: Listing) -> Answer:
    return Answer(listing.picture.decode(), toss.uniform(0.8, 1.0))


@cascade(
    task=lambda category, listing: f"colour of {category}", input_size=lambda _, listing: len(listing.title)
)
def colour(category: str, listing: Listing) -> Answer:
    answer = read_text(listing)
    if answer is not None and answer.confidence >= 0.7:
        return answer
    return look_at_picture(listing)


def toy_listing(category: str, silent: float, ambiguous: float) -> Listing:
    true, other = toss.sample(COLOURS, 2)
    chance = toss.random()
    said = "" if chance < silent else f"{true} or {other} " if chance < silent + ambiguous else f"{true} "
    return Listing(f"{said}{category}, size M", true.encode())


if __name__ == "__main__":
    telemetry = configure(store=sys.argv[1] if len(sys.argv) > 1 else None, service_name="modality")
    for category, silent, ambiguous in (("shirts", 0.1, 0.1), ("scarves", 0.3, 0.4)):
        listings = [toy_listing(category, silent, ambiguous) for _ in range(50)]
        for listing in listings:
            colour(category, listing)
        named = [sum(each in listing.title for each in COLOURS) for listing in listings]
        print(
            f"colour of {category}: {named.count(0) + named.count(2)} of {len(named)} calls were escalated, "
            f"{named.count(0)} because the text names no colour, {named.count(2)} because it names two"
        )
    if not telemetry.flush(5.0):
        sys.exit("not sent: is the receiver running? `cascade-otel serve --store ./telemetry` starts one")
