"""YAML of the plain kind that people write by hand: what JSON can say, read as YAML 1.2 reads it.

`no` and `on` stay words and 1e-3 is a number, as in editors. Repeated keys, aliases, tags and deep nesting are
errors: they are slips, or make a small file huge.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_DEEPEST = 8
_RESOLVERS = (
    ("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")),
    ("tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9]*)$"), list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        re.compile(
            r"^[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$"
        ),
        list("-+.0123456789"),
    ),
)


class YamlError(Exception):
    """A text is not plain YAML; `str()` says where and why in one line."""


def load(text: str) -> Any:
    """Returns what a text says: dicts with text for keys, lists, texts, numbers, booleans, None.

    Raises YamlError.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        if mark is None or not (error.context or "while parsing a block").startswith("while parsing a block"):
            mark = (
                error.context_mark or mark
            )  # what is unfinished begins there; the problem shows a line later
        where = f"line {mark.line + 1}: " if mark else ""
        words = ", ".join(filter(None, (error.context, error.problem)))
        raise YamlError(where + " ".join(words.split())) from error
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise YamlError(" ".join(str(error).split())) from error


def _error(problem: str, where: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=where.start_mark)


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012  # of its own
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _error("aliases (*name) are not allowed", event)
        if getattr(event, "tag", None):
            raise _error("tags (!name) are not allowed", event)
        if self._depth == _DEEPEST:
            raise _error("is nested too deep", event)
        self._depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _error("a key must be a word", key)
            if key.value in seen:
                raise _error(f"the key `{key.value}` is there twice", key)
            seen.add(key.value)
        return {key.value: self.construct_object(value, deep=True) for key, value in node.value}


for _tag, _pattern, _beginnings in _RESOLVERS:
    _Loader.add_implicit_resolver(_tag, _pattern, _beginnings)
