"""The environment of this process: the only file that reads it, and the file of further settings that it may name.

It turns variables into frozen configurations and refuses what it cannot read, naming the variable and never its value, which
may be secret. Which settings there are, and what they mean, it does not know: ``settings`` says so.
"""

import difflib
import os
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from dotenv import dotenv_values
from pydantic import ValidationError, create_model
from pydantic_settings import BaseSettings, SettingsConfigDict

from penstock import bounds
from penstock.video.errors import ConfigurationError

PREFIX = "PENSTOCK_"
C = TypeVar("C")


class _Variables(BaseSettings):
    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True)


def value(name: str) -> str | None:
    """A variable that is no setting of ours; None where it is unset or empty."""
    return os.environ.get(name) or None


def extended(given: Mapping[str, Any]) -> dict[str, str]:
    """This environment for another process, with the settings ``given`` (by lower-case name) that are not None."""
    ours = {f"{PREFIX}{name.upper()}": str(value) for name, value in given.items() if value is not None}
    return {**os.environ, **ours}


def configuration(room: str, config: type[C], settable: Iterable[str], **derived: Any) -> C:
    """A dataclass whose ``settable`` fields are read from ``PENSTOCK_ROOM_FIELD``, else have their own defaults.

    Raises :class:`ConfigurationError` for a value that is not of its field's type or out of its bounds.
    """
    hints, names = get_type_hints(config), frozenset(settable)
    definitions: dict[str, Any] = {
        field.name: (hints[field.name], field.default if field.default is not MISSING else ...)
        for field in fields(config)  # type: ignore[arg-type]  # a dataclass, which a type variable cannot say
        if field.name in names
    }
    prefix = f"{PREFIX}{room}_"
    model = create_model(config.__name__, __base__=_Variables, **definitions)
    try:
        values = model(_env_prefix=prefix)  # type: ignore[call-arg]  # of BaseSettings itself, hidden by the model
    except ValidationError as error:
        raise refusal(error, prefix) from None
    found = {name: getattr(values, name) for name in definitions}
    bounds.check({f"{room}_{name.upper()}": value for name, value in found.items()}, prefix=PREFIX)
    return config(**found, **derived)


def complete_from_file(variable: str) -> None:
    """Completes the environment by the file that ``variable`` names: processes started from here need not read it again.

    What the environment sets already stays. Raises :class:`ConfigurationError`.
    """
    path = value(variable)
    if path is None:
        return
    try:
        with Path(path).open(encoding="utf-8") as file:
            found = dotenv_values(stream=file, interpolate=False)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"{variable} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}. Correct or unset it."
        ) from None
    for name, text in found.items():
        if text is None:
            raise ConfigurationError(f"{variable}: {name} has no value; write NAME=value.")
        os.environ.setdefault(name, text)


def refuse_unknown(known: frozenset[str]) -> None:
    """A misspelt variable would silently leave the default in force. Raises :class:`ConfigurationError`."""
    for name in sorted(os.environ):
        if name.startswith(PREFIX) and name not in known:
            nearest = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise ConfigurationError(f"{name} is not a setting.{hint} Unset it, or see 'penstock settings'.")


def refusal(error: ValidationError, prefix: str) -> ConfigurationError:
    """Names variables and what is expected of them."""
    faults = [f"{prefix}{'_'.join(map(str, item['loc'])).upper()}: {item['msg']}" for item in error.errors()]
    return ConfigurationError(f"{'; '.join(faults)}. Correct or unset it.")
