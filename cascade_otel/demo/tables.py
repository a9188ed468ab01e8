"""What the demo states rather than measures: its tasks, and made-up prices, lengths and latencies."""

from __future__ import annotations

from dataclasses import dataclass

QUESTIONS = {
    "science question": "sciq_test",
    "yes or no question": "boolq_valid",
    "reading passage": "sat_en",
    "logic puzzle": "lsat_ar_test",
}
"""Input segment, as the dashboard shows it: set of questions in the shipped answers."""


@dataclass(frozen=True)
class Model:
    """What a call costs and how long it takes. The answers have neither, so these are made."""

    provider: str
    input_price: float
    """USD per million tokens."""
    output_price: float
    output_tokens: int
    """Median; a call's own is spread around it."""
    latency_s: float
    """Median; a call's own is spread around it."""


MODELS = {
    "Meta-Llama-3.1-8B-Instruct": Model("meta", 0.10, 0.10, 60, 0.35),
    "Meta-Llama-3.1-70B-Instruct": Model("meta", 0.60, 0.60, 60, 0.60),
    "claude-3-haiku-20240307": Model("anthropic", 0.25, 1.25, 60, 0.40),
    "claude-3-7-sonnet-20250219": Model("anthropic", 1.50, 7.50, 60, 0.80),
    "claude-sonnet-4-20250514": Model("anthropic", 1.50, 7.50, 60, 0.80),
    "deepseek-v3": Model("deepseek", 0.30, 1.10, 60, 0.70),
    "gpt-4o": Model("openai", 1.25, 5.00, 60, 0.60),
    "gemini-2.5-flash": Model("google", 0.30, 2.50, 60, 0.40),
    "gemini-2.5-pro": Model("google", 1.25, 5.00, 60, 0.80),
    "deepseek-r1": Model("deepseek", 1.50, 6.00, 600, 1.50),
    "o3-2025-04-16": Model("openai", 2.00, 8.00, 700, 1.60),
}
PROMPT_TOKENS = 120
"""Sent with every question."""
CHARS_PER_TOKEN = 4
LENGTH_SPREAD, LATENCY_SPREAD = 0.25, 0.30
"""Standard deviations of the logarithm."""
MOST_SECONDS = 3.0
"""No call takes longer, so that the live hour is over in seconds."""


@dataclass(frozen=True)
class Task:
    """One product attribute: a mix of two kinds of input, a pair of models and a threshold."""

    name: str
    main: str
    """Segment of most inputs."""
    hard: str
    """Segment of the others; the cheap model is less sure of them."""
    hard_share: float
    alias: str
    """Model asked for, a name that its provider can move."""
    cheap: str
    """Model that answers to the alias."""
    weaker: str
    """Model that answers to it after a move."""
    strong: str
    threshold: float


SCIENCE, YES_NO, PASSAGE, PUZZLE = QUESTIONS
LLAMA_70B, LLAMA_8B = "Meta-Llama-3.1-70B-Instruct", "Meta-Llama-3.1-8B-Instruct"
SONNET_4, SONNET_37, HAIKU = (
    "claude-sonnet-4-20250514",
    "claude-3-7-sonnet-20250219",
    "claude-3-haiku-20240307",
)
O3, R1 = "o3-2025-04-16", "deepseek-r1"

TASKS = (
    Task("organic", SCIENCE, PUZZLE, 0.1, "chat-small", "gpt-4o", HAIKU, O3, 0.90),
    Task("low_sugar", YES_NO, PUZZLE, 0.1, "claude-latest", SONNET_4, HAIKU, O3, 0.90),
    Task("vegan", SCIENCE, PASSAGE, 0.1, "chat-small", "gpt-4o", "deepseek-v3", O3, 0.85),
    Task("gluten_free", SCIENCE, PASSAGE, 0.1, "llama-3.1", LLAMA_70B, LLAMA_8B, R1, 0.95),
    Task("lactose_free", YES_NO, PUZZLE, 0.2, "chat-open", "deepseek-v3", LLAMA_8B, R1, 0.90),
    Task("high_protein", SCIENCE, PUZZLE, 0.1, "claude-latest", SONNET_37, HAIKU, O3, 0.90),
    Task("fair_trade", SCIENCE, PASSAGE, 0.1, "gemini-2.5", "gemini-2.5-pro", "gemini-2.5-flash", O3, 0.95),
    Task("palm_oil_free", SCIENCE, PUZZLE, 0.1, "claude-latest", SONNET_4, HAIKU, O3, 0.85),
)
THRESHOLDS = (0.60, 0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95, 0.96, 0.98, 0.99, 1.0)
"""Where τ may be moved to: stated confidences are lumpy, between two of these lies next to nothing."""
