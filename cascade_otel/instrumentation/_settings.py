"""The switches of the recording side, for the whole process."""

from __future__ import annotations


class Settings:
    """Set through ``configure``, or directly, at any time."""

    token_usage: bool = False
    """Also record ``gen_ai.client.token.usage``: off, since an instrumented client already does."""
    read_results: bool = True
    """Look for usage and model in results. Off, for lazy proxies that run code when they are looked at."""


settings = Settings()
