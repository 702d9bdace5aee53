"""One option of a conversion or a comparison as a field with a label and a sentence beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ipywidgets

from ..errors import BadInput
from ..files.records import Option
from .form import FIELD, WIDE, help_text


class Choice(ipywidgets.HBox):
    """Ask for an option.

    Args:
        option: which.
        chosen: called with a value when the person has changed it; with the default where it is left open.

    Attributes:
        field: the widget asked in.
    """

    def __init__(self, option: Option, chosen: Callable[[Any], None]) -> None:
        self.option, self.field = option, _field(option)
        numbers = ipywidgets.BoundedIntText | ipywidgets.BoundedFloatText
        open_number = isinstance(self.field, numbers) and option.default is None
        unset = f" 0: {option.unset}." if open_number else ""
        super().__init__([self.field, ipywidgets.HTML(help_text(option.help + unset))])
        self.add_class("wb-line")
        self.field.observe(lambda change: chosen(self._value), "value")

    def show(self, value: Any) -> None:
        """Show a value; one that the option does not take is left to whom it is for, who says what is wrong."""
        try:
            self.option.check(value)
        except BadInput:
            return
        if isinstance(self.field, ipywidgets.Dropdown):
            offer(self.field, self.field.options, "" if value is None else value)
        elif value is None:
            self.field.value = "" if isinstance(self.field, ipywidgets.Text) else 0
        else:
            self.field.value = ", ".join(value) if isinstance(value, list | tuple) else value

    @property
    def _value(self) -> Any:
        value = self.field.value
        if self.option.kind == "names":
            value = [name.strip() for name in value.split(",") if name.strip()]
        return value if isinstance(value, bool) else value or self.option.default


def offer(field: ipywidgets.Dropdown, options: Iterable[tuple[str, Any]], value: Any) -> None:
    """Show these options with one chosen, which code may have named and the list lacks."""
    options = tuple(options)
    if value not in [given for _, given in options]:
        options = (*options, (str(value), value))
    if field.options != options:
        field.options = options
    field.value = value


def _field(option: Option) -> ipywidgets.ValueWidget:
    values = option.choices
    in_words = any(isinstance(value, tuple) for value in values) or (values and len(option.unset) > len("automatic"))
    common: dict[str, Any] = {"description": option.label, **(WIDE if in_words else FIELD)}
    if option.kind == "bool":
        return ipywidgets.Checkbox(option.default, **common)
    if option.kind in ("text", "names"):
        return ipywidgets.Text(placeholder=option.unset, continuous_update=False, **common)
    if option.kind == "int" and option.most is not None:
        values = tuple(range(int(option.least or 0), int(option.most) + 1))
    if values:
        named = [value if isinstance(value, tuple) else (str(value), value) for value in values]
        unset = [(option.unset, "")] if option.default is None else []
        return ipywidgets.Dropdown(options=[*unset, *named], value=option.default or "", **common)
    if option.kind == "float":
        return ipywidgets.BoundedFloatText(option.default or 0, min=0, max=1e9, step=0.001, **common)
    return ipywidgets.BoundedIntText(option.default or 0, min=0, max=2**31 - 1, **common)
