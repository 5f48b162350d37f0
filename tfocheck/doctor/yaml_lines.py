"""YAML and JSON with the lines that values stand on; nothing is constructed of what is read.

PyYAML composes a tree of nodes: tags mean nothing here, and an alias is its node again, so that
neither runs anything nor grows: each node is looked at once, and at most ``_MOST`` are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

_MOST = 100_000


@dataclass(frozen=True)
class Entry:
    """A mapping: where it is (keys, and "*" for a place in a list), its line, and its node."""

    path: tuple[str, ...]
    line: int
    node: yaml.MappingNode

    def get(self, *keys: str) -> tuple[str, int] | None:
        """(text, line) of a plain value in this mapping, by its keys from here."""
        node: yaml.Node | None = self.node
        for key in keys:
            node = _value(node, key)
        if not isinstance(node, yaml.ScalarNode):
            return None
        return str(node.value), node.start_mark.line + 1


def mappings(text: str) -> Iterator[Entry]:
    """All mappings of all documents. Raises ValueError for what is no YAML."""
    left = _MOST
    try:
        for document in yaml.compose_all(text, Loader=yaml.SafeLoader):
            waiting: list[tuple[tuple[str, ...], yaml.Node]] = [((), document)]
            seen: set[int] = set()
            while waiting and left:
                left -= 1
                path, node = waiting.pop()
                # An alias is the node that it stands for, which may hold itself.
                if id(node) in seen:
                    continue
                seen.add(id(node))
                if isinstance(node, yaml.MappingNode):
                    yield Entry(path, node.start_mark.line + 1, node)
                    waiting += [
                        ((*path, str(key.value)), value) for key, value in reversed(node.value)
                    ]
                elif isinstance(node, yaml.SequenceNode):
                    waiting += [((*path, "*"), value) for value in reversed(node.value)]
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        raise ValueError(f"it is no YAML{where}") from error


def _value(node: yaml.Node | None, key: str) -> yaml.Node | None:
    # Of a key that comes twice the last one counts.
    found = None
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if isinstance(name, yaml.ScalarNode) and name.value == key:
            found = value
    return found
