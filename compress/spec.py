"""The frozen base of everything a recipe can say."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


class Spec(BaseModel):
    """A YAML node and a Python object at once: frozen, validated, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    def canonical(self) -> dict[str, Any]:
        """JSON-able content; equal specs give equal content whatever they were made from."""
        return self.model_dump(mode="json")


def digest(*parts: Any) -> str:
    """First 20 hex digits of the sha256 of the canonical JSON of ``parts``."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def refusal(title: str, problems: Iterable[tuple[tuple[str | int, ...], str]], found: Any) -> ValidationError:
    """What a validator raises for several mistakes, each with its place below ``title``'s data."""
    details: list[InitErrorDetails] = [
        {
            "type": PydanticCustomError("value_error", "{text}", {"text": text}),
            "loc": path,
            "input": found,
        }
        for path, text in problems
    ]
    return ValidationError.from_exception_data(title, details)
