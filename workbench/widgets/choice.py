"""One option of a conversion as a field with a label and a sentence beside it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets

from ..errors import BadInput
from ..files.records import Option
from .form import FIELD, help_text


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
        open_number = isinstance(self.field, ipywidgets.BoundedIntText | ipywidgets.BoundedFloatText)
        unset = f" 0: {option.unset}." if open_number else ""
        super().__init__([self.field, ipywidgets.HTML(help_text(option.help + unset))])
        self.add_class("wb-line")
        self.field.observe(lambda change: chosen(self._value), "value")

    def show(self, value: Any) -> None:
        """Show a value; one that the option does not take is left to the converter, which says what is wrong."""
        try:
            self.option.check(value)
        except BadInput:
            return
        if value is None:
            value = "" if isinstance(self.field, ipywidgets.Dropdown | ipywidgets.Text) else 0
        self.field.value = ", ".join(value) if isinstance(value, list | tuple) else value

    @property
    def _value(self) -> Any:
        value = self.field.value
        if self.option.kind == "names":
            value = [name.strip() for name in value.split(",") if name.strip()]
        return value if isinstance(value, bool) else value or self.option.default


def _field(option: Option) -> ipywidgets.ValueWidget:
    common: dict[str, Any] = {"description": option.label, **FIELD}
    if option.kind == "bool":
        return ipywidgets.Checkbox(option.default, **common)
    if option.kind in ("text", "names"):
        return ipywidgets.Text(placeholder=option.unset, continuous_update=False, **common)
    if option.kind == "float":
        return ipywidgets.BoundedFloatText(0, min=0, max=1e9, step=0.001, **common)
    if option.kind == "int" and option.most is None:
        return ipywidgets.BoundedIntText(0, min=0, max=2**31 - 1, **common)
    values = option.choices or range(int(option.least or 0), int(option.most or 0) + 1)
    unset = [(option.unset, "")] if option.default is None else []
    return ipywidgets.Dropdown(
        options=[*unset, *((str(value), value) for value in values)], value=option.default or "", **common
    )
