"""What a converter lets a person choose: one list for the converters, the command line and the widgets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import BadInput
from ..files import registry
from ..files.records import Option


def options_for(format_name: str) -> tuple[Option, ...]:
    """The options for a file of this format (`files.formats` names it); empty where it cannot be converted."""
    return registry.of(format_name).options


def chosen(options: Sequence[Option], given: Mapping[str, Any], family: str) -> dict[str, Any]:
    """Every option, as given or by default.

    Args:
        given: {option: value}.
        family: what to call the format in sentences.

    Raises:
        BadInput: there is no such option, or it does not take this value.
    """
    known = {option.name: option for option in options}
    for name, value in given.items():
        if name not in known:
            raise BadInput(f"There is no option {name!r} for {family}; choose from: {', '.join(known)}.")
        known[name].check(value)
    return {name: option.default for name, option in known.items()} | dict(given)
