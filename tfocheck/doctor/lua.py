"""Lua as far as dnsdist's configuration needs it: calls, with their strings and tables.

Nothing is run. What stands in a block (if, for, function) may be run or not: that is told, so that
nobody takes it for a setting; a value that is no number or no string is not known.

Source: the Lua 5.1 reference manual, section 2.1 (lexical conventions).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

_TOKEN = re.compile(
    r"""
      (?P<comment> --\[(?P<level1>=*)\[ .*? (?:\](?P=level1)\]|\Z) | --[^\n]* )
    | (?P<string> \[(?P<level2>=*)\[ .*? (?:\](?P=level2)\]|\Z)
        | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' )
    | (?P<number> 0[xX][0-9a-fA-F]+ | \d+ )
    | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
    | (?P<sign> \.\.\.|\.\.|==|~=|<=|>=|\S )
    """,
    re.VERBOSE | re.DOTALL,
)
_OPENS = {"function", "do", "then", "repeat"}
_CLOSES = {"end", "until"}
_BRACKETS = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True)
class Token:
    """A word of Lua: its kind (string, number, name, sign), its value, and its line."""

    kind: str
    value: str
    line: int


@dataclass(frozen=True)
class Call:
    """A call of a function by its name: its line, its arguments, whether it stands in a block."""

    name: str
    line: int
    arguments: tuple[tuple[Token, ...], ...]
    conditional: bool


def tokens(text: str) -> Iterator[Token]:
    """The words of a file, without its comments."""
    line, at = 1, 0
    for found in _TOKEN.finditer(text):
        line += text.count("\n", at, found.start())
        at = found.start()
        kind = found.lastgroup if found.lastgroup in ("number", "name", "sign") else "string"
        if found["comment"] is None:
            value = found[0] if kind != "string" else _unquoted(found[0])
            yield Token(str(kind), value, line)


def calls(text: str, names: Sequence[str]) -> Iterator[Call]:
    """The calls of these functions, in order."""
    words = list(tokens(text))
    depth = 0
    for index, word in enumerate(words):
        if word.kind != "name":
            continue
        # "elseif ... then" goes on with the block that its "if" has opened.
        if word.value in _OPENS:
            depth += 1
        elif word.value in _CLOSES or word.value == "elseif":
            depth -= 1
        follows = words[index + 1 : index + 2]
        before = words[index - 1].value if index else ""
        is_call = bool(follows) and follows[0].value == "(" and before not in (".", ":", "function")
        if word.value in names and is_call:
            yield Call(word.value, word.line, tuple(_arguments(words[index + 2 :])), depth > 0)


def field(table: Sequence[Token], name: str) -> str | None:
    """The value of a table's own field, ``{name=value}``: a number or string, else ""."""
    depth = 0
    for index, word in enumerate(table):
        if word.kind == "sign" and word.value in _BRACKETS:
            depth += 1
        elif word.kind == "sign" and word.value in _BRACKETS.values():
            depth -= 1
        elif depth == 1 and word.kind == "name" and word.value == name:
            rest = table[index + 1 : index + 4]
            if len(rest) < 3 or rest[0].value != "=":
                continue
            plain = rest[1].kind in ("number", "string") and rest[2].value in (",", ";", "}")
            return rest[1].value if plain else ""
    return None


def _arguments(words: Sequence[Token]) -> Iterator[tuple[Token, ...]]:
    """What stands between the commas up to the bracket that ends the call."""
    open_ones: list[str] = []
    argument: list[Token] = []
    for word in words:
        sign = word.value if word.kind == "sign" else ""
        if not open_ones and sign in (",", ")"):
            if argument:
                yield tuple(argument)
            argument = []
            if sign == ")":
                return
            continue
        if sign in _BRACKETS:
            open_ones.append(_BRACKETS[sign])
        elif open_ones and sign == open_ones[-1]:
            open_ones.pop()
        argument.append(word)


def _unquoted(text: str) -> str:
    if text[0] == "[":
        inner = text.split("[", 2)[2]
        return inner[: inner.rfind("]", 0, -1)] if inner.endswith("]") else inner
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
