"""Finding a field in a result that may be an object or a dict, and the text of an answer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any


def has(thing: Any, name: str) -> bool:
    """Whether the object or dict has this field."""
    return name in thing if isinstance(thing, Mapping) else hasattr(thing, name)


def field(thing: Any, *names: str) -> Any:
    """The first of these fields that is there and not None, else None."""
    is_mapping = isinstance(thing, Mapping)
    for name in names:
        value = thing.get(name) if is_mapping else getattr(thing, name, None)
        if value is not None:
            return value
    return None


def items(value: Any) -> Sequence[Any]:
    """The elements of a list or tuple; of anything else, none."""
    return value if isinstance(value, Sequence) and not isinstance(value, (str, bytes, bytearray)) else ()


def first(value: Any) -> Any:
    """The first element of a list or tuple, or None."""
    return next(iter(items(value)), None)


def answer_text(result: Any) -> str | None:
    """The text of an answer; None where the result is known but holds no text.

    Raises TypeError for a result of no known shape.
    """
    if result is None or isinstance(result, str):
        return result
    pieces = [piece for place in _contents(result) for piece in _texts(place)]
    return "".join(pieces) if pieces else None


def _contents(result: Any) -> Iterator[Any]:
    if has(result, "choices"):  # OpenAI chat and completions, LiteLLM: the first of n answers
        choice = first(field(result, "choices"))
        yield field(field(choice, "message"), "content") if has(choice, "message") else field(choice, "text")
    elif has(result, "candidates"):  # Gemini
        yield field(field(first(field(result, "candidates")), "content"), "parts")
    elif isinstance(field(result, "output"), (list, tuple)):  # OpenAI responses
        yield from (field(item, "content") for item in items(field(result, "output")))
    elif has(result, "parts"):  # pydantic-ai
        for part in items(field(result, "parts")):
            if field(part, "part_kind") == "text":
                yield field(part, "content")
    elif has(result, "message"):  # Ollama
        yield field(field(result, "message"), "content")
    elif has(result, "content"):  # LangChain, Anthropic
        yield field(result, "content")
    else:
        raise TypeError(
            f"a {type(result).__name__} arrived where a text is wanted, or a result of OpenAI, Gemini, "
            "Anthropic, LiteLLM, LangChain, pydantic-ai or Ollama; of your own result give its text: "
            "confidence=lambda result: verbalised(result.text)"
        )


def _texts(content: Any) -> Iterator[str]:
    """A content is a text, or blocks of which some have a text."""
    for block in (content,) if isinstance(content, str) else items(content):
        text = block if isinstance(block, str) else field(block, "text")
        if isinstance(text, str) and not field(block, "thought"):  # Gemini's reasoning is no answer
            yield text
