"""A model's arithmetic, as a person writes it, in ONNX's text syntax.

Each line says what a name stands for: ``risen = voltage + (J - voltage) * share``. Calls are ONNX's operators by their
own names, and what a call names is an attribute: ``Unsqueeze(x, columns)``, ``Mod(x, y, fmod=1)``. What has no name on
the way gets that of its line with a number: ``risen_1``.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass

_SIGNS: dict[type[ast.AST], str] = {
    ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul", ast.Div: "Div", ast.BitXor: "BitwiseXor", ast.BitAnd: "BitwiseAnd",
    ast.Gt: "Greater", ast.Lt: "Less",
}  # fmt: skip
_CASTS = {"single": 1, "double": 11, "long": 7}
"""Calls that make numbers of another type -> ONNX's number for it."""


@dataclass(frozen=True)
class Equations:
    """One model's arithmetic, in ONNX's text syntax (`lines`).

    Attributes:
        setup: constants made once from the attributes (which are there as ``k_<name>``).
        step: from the current ``J`` and each ``<state>`` to ``y`` and each ``<state>_next``.
        enter, leave: what a state becomes before and after the loop, where the loop keeps it in another form: from
            ``<state>_in`` to ``<state>_first``, from ``<state>_last`` to ``<state>_out``.
    """

    setup: str
    step: str
    enter: str = ""
    leave: str = ""


def equations(step: str, setup: str = "", enter: str = "", leave: str = "") -> Equations:
    """Of what a person wrote."""
    return Equations(lines(setup), lines(step), lines(enter), lines(leave))


def lines(written: str) -> str:
    """ONNX's text of a few equations: an operator a line."""
    text = ""
    for line in filter(None, map(str.strip, written.splitlines())):
        name, _, value = line.partition(" = ")
        made: list[str] = []
        _write(ast.parse(value, mode="eval").body, name, made)
        *before, (_, last) = [one.split(" = ", 1) for one in made]
        text += "".join(f"  {part} = {operator}\n" for part, operator in [*before, (name, last)])
    return text


def _write(value: ast.expr, name: str, made: list[str]) -> None:
    """Append the operators that make a value, each called after the whole with its number."""

    def named(part: ast.expr) -> str:
        if isinstance(part, ast.Name):
            return part.id
        _write(part, name, made)
        return made[-1].partition(" ")[0]

    attributes = ""
    match value:
        case ast.BinOp(left, sign, right) | ast.Compare(left, [sign], [right]):
            op, taken = _SIGNS[type(sign)], [left, right]
        case ast.UnaryOp(ast.USub(), operand) if not isinstance(operand, ast.Constant):
            op, taken = "Neg", [operand]
        case ast.Call(ast.Name("double"), [ast.Constant(number)]):
            op, taken, attributes = "Constant", [], f"value: tensor = double {{{number!r}}}"
        case ast.Call(ast.Name(called), taken, []) if called in _CASTS:
            op, attributes = "Cast", f"to = {_CASTS[called]}"
        case ast.Call(ast.Name(op), taken, keywords):
            attributes = ", ".join(f"{each.arg} = {ast.unparse(each.value)}" for each in keywords)
        case _:
            number = ast.literal_eval(value)
            kind = "ints" if isinstance(number, list) else type(number).__name__
            op, taken, attributes = "Constant", [], f"value_{kind} = {number!r}"
    inputs = ", ".join([named(part) for part in taken])
    made.append(f"{name}_{len(made) + 1} = {op} {f'<{attributes}> ' if attributes else ''}({inputs})")
