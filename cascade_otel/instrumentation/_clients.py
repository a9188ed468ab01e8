"""Which instrumentations of model clients are active, so that nothing is counted twice."""

from __future__ import annotations

import sys
from types import ModuleType

PROVIDERS = {
    "anthropic": ("anthropic",),
    "bedrock": ("aws", "bedrock"),
    "botocore": ("aws", "bedrock"),
    "cohere": ("cohere",),
    "google_genai": ("gcp", "google", "gemini", "vertex"),
    "google_generativeai": ("gcp", "google", "gemini", "vertex"),
    "groq": ("groq",),
    "mistralai": ("mistral",),
    "ollama": ("ollama",),
    "openai": ("openai", "deepseek", "x_ai", "perplexity", "moonshot"),  # its client serves them all
    "openai_v2": ("openai", "deepseek", "x_ai", "perplexity", "moonshot"),
    "together": ("together",),
    "vertexai": ("gcp", "google", "gemini", "vertex"),
    "watsonx": ("ibm", "watsonx"),
}
"""By package under ``opentelemetry.instrumentation``, or its ``genai``: words in its providers' names."""


def instrumented(provider: str | None) -> bool:
    """Whether an active instrumentation makes the ``gen_ai`` spans of this provider's client.

    Of an unknown provider, whether any is active that is about models alone. Looks at what has been
    imported: cheap enough for the first call of a tier, too dear for each.
    """
    return any(
        (name != "botocore" if provider is None else any(word in provider.lower() for word in words))
        and any(
            _active(sys.modules.get(f"opentelemetry.instrumentation.{each}"))
            for each in (name, f"genai.{name}")
        )
        for name, words in PROVIDERS.items()
    )


def _active(package: ModuleType | None) -> bool:
    kinds = () if package is None else tuple(vars(package).values())
    return any(
        getattr(getattr(kind, "_instance", None), "_is_instrumented_by_opentelemetry", False) is True
        for kind in kinds
    )
