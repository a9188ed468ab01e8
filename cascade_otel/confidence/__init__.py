"""The field's confidence scores, for ``@tier(confidence=...)`` and for plain values: standard library only.

Every score is a float in [0, 1], higher for more confidence, or None where it cannot be known: a call that
escalates without one has the reason ``missing_confidence``. What no score can be made of raises ValueError
or TypeError; given to a tier it is left out, counted, and logged once, and never reaches your code.

Token probabilities, P(True) and verbalised confidence read the results of OpenAI (chat, responses,
completions), Gemini, LiteLLM, LangChain, pydantic-ai and Ollama, as objects or dicts, importing none.
"""

from __future__ import annotations

from cascade_otel.confidence._numbers import from_logit
from cascade_otel.confidence._p_true import p_true
from cascade_otel.confidence._token_scores import (
    geometric_mean_probability,
    margin,
    mean_probability,
    min_probability,
    quantile_probability,
    sequence_probability,
)
from cascade_otel.confidence._verbalised import verbalised
from cascade_otel.confidence._votes import Vote, votes

__all__ = [
    "Vote",
    "from_logit",
    "geometric_mean_probability",
    "margin",
    "mean_probability",
    "min_probability",
    "p_true",
    "quantile_probability",
    "sequence_probability",
    "verbalised",
    "votes",
]
