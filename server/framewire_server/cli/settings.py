"""What is wrong with a setting, in one line."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_settings import SettingsError


def explain(error: ValidationError | SettingsError) -> str:
    """Returns what ServerConfig refused, by the names of the settings."""
    if isinstance(error, SettingsError):
        return f'{error}: several values are JSON, for example ["a.onnx", "b.onnx"] or {{"10.0.1.0/24": 3}}'
    return "; ".join(
        f"{item['loc'][0]}: {item['msg'].removeprefix('Value error, ')}" for item in error.errors()
    )
