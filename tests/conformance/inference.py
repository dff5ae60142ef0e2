"""Follows things of the GPU libraries through code: assignments, attributes of self, loops, results of calls."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias

from tests.conformance.api import Api, Member
from tests.conformance.vocabulary import FUNCTIONS, MODULES, NAMES, OWN, RETURNS, Thing

Libraries: TypeAlias = "Mapping[str, Sequence[Api]]"
"""All versions of each library, oldest first."""
Function: TypeAlias = "ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda"
Comprehension: TypeAlias = "ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp"

_ELSEWHERE = Thing("", form="elsewhere")
"""A module of something else, and what is in it."""
_OF_CONTAINERS = frozenset({"get", "items", "pop", "setdefault", "values"})
_PASS_ON = frozenset({"enter_context", "enumerate", "iter", "list", "next", "reversed", "sorted", "tuple"})


class Inference(ast.NodeVisitor):
    """Visits a file; what it learned stays for the next visit, so that a later line tells an earlier one."""

    def __init__(self, file: str, libraries: Libraries) -> None:
        self.libraries = libraries
        self.bases: dict[str, Thing] = {}
        """The library's class that a class of ours is made from."""
        self._names = {**NAMES[""], **NAMES.get(file.rpartition("/")[2], {})}
        self._scopes: list[str] = [""]
        self._classes: list[str] = []
        self._things: dict[
            tuple[str, str], Thing
        ] = {}  # by scope and name; the scope of `self.x` is its class
        self._results: dict[str, Thing] = {}
        self._functions: set[str] = set()

    # Scopes

    def visit_Module(self, node: ast.Module) -> None:
        for each in ast.walk(node):
            if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef)):
                self._functions.add(each.name)
                if each.returns and _is_ours(ast.unparse(each.returns)):
                    self._results[each.name] = OWN
        self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            thing = Thing(alias.name, form="module") if alias.name in self.libraries else _ELSEWHERE
            self._things[self._scopes[-1], alias.asname or alias.name.partition(".")[0]] = thing

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            name = f"{node.module}.{alias.name}"
            thing = OWN if name.startswith(("framewire", "tests.")) else _ELSEWHERE
            if name in self.libraries:
                thing = Thing(name, form="module")
            self._things[self._scopes[-1], alias.asname or alias.name] = thing

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._classes.append(node.name)
        for base in node.bases:
            thing = self.evaluate(base)
            if thing and thing.form == "class":
                self.bases[node.name] = Thing(thing.library, thing.owner)
        self.generic_visit(node)
        self._classes.pop()

    def visit_FunctionDef(self, node: Function) -> None:
        self._scopes.append(f"{self._scopes[-1]}.{getattr(node, 'name', 'lambda')}")
        for argument in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            self._annotate(argument.arg, argument.annotation, self._scopes[-1])
        self.generic_visit(node)
        self._scopes.pop()

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef  # noqa: N815  # ast's names

    def visit_Return(self, node: ast.Return) -> None:
        thing = node.value and self.evaluate(node.value)
        if thing and thing != OWN:
            self._results[self._scopes[-1].rpartition(".")[2]] = thing
        self.generic_visit(node)

    # Assignments

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                for each, value in zip(target.elts, node.value.elts, strict=False):
                    self._bind(each, self.evaluate(value))
            else:
                self._bind(target, self.evaluate(node.value))
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        scope, name = self._place(node.target)
        thing = node.value and self.evaluate(node.value)
        if name and thing:
            self._things[scope, name] = thing
        elif name:
            self._annotate(name, node.annotation, scope)
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        self._bind(node.target, self.evaluate(node.value))
        self.generic_visit(node)

    def visit_For(self, node: ast.For) -> None:
        self._bind(node.target, self._one_of(node.iter))
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._bind(node.target, self._one_of(node.iter))
        self.generic_visit(node)

    def visit_ListComp(self, node: Comprehension) -> None:
        for generator in node.generators:  # before the element, which stands first
            self._bind(generator.target, self._one_of(generator.iter))
        self.generic_visit(node)

    visit_SetComp = visit_GeneratorExp = visit_DictComp = visit_ListComp  # noqa: N815

    def visit_withitem(self, node: ast.withitem) -> None:
        if node.optional_vars:
            self._bind(node.optional_vars, self.evaluate(node.context_expr))
        self.generic_visit(node)

    def _bind(self, target: ast.expr, thing: Thing | None) -> None:
        scope, name = self._place(target)
        if name and thing:
            self._things[scope, name] = thing
        if isinstance(target, ast.Tuple) and thing == OWN:
            for each in target.elts:
                self._bind(each, OWN)

    def _place(self, target: ast.expr) -> tuple[str, str]:
        if isinstance(target, ast.Name):
            return self._scopes[-1], target.id
        if isinstance(target, ast.Attribute) and is_self(target.value):
            return self._class, target.attr
        return "", ""

    def _annotate(self, name: str, annotation: ast.expr | None, scope: str) -> None:
        words = ast.unparse(annotation).strip("'\"") if annotation else "Any"
        stated = re.match(r"(?:trt|tensorrt)\.([\w.]+)", words)
        if stated:
            self._things[scope, name] = Thing("tensorrt", stated[1])
        elif _is_ours(words):
            self._things.setdefault((scope, name), OWN)

    @property
    def _class(self) -> str:
        return f"class {self._classes[-1]}" if self._classes else ""

    # Expressions

    def evaluate(self, node: ast.expr) -> Thing | None:
        """Returns what an expression is; None when it is not known."""
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._called(node)
        if isinstance(node, ast.Subscript):
            return self._one_of(node.value)
        if isinstance(node, (ast.List, ast.Tuple)):
            return _many(self.evaluate(node.elts[0]) if node.elts else None)
        if isinstance(node, (ast.ListComp, ast.GeneratorExp)):
            return _many(self.evaluate(node.elt))
        if isinstance(node, ast.BoolOp):
            return self._first(node.values)
        if isinstance(node, ast.IfExp):
            return self._first([node.body, node.orelse])
        return self.evaluate(node.value) if isinstance(node, (ast.NamedExpr, ast.Await)) else None

    def member(self, thing: Thing, name: str) -> Member | None:
        """Returns a member of what an expression is, in the newest version that has it."""
        for api in reversed(self.libraries[thing.library]):
            if found := (api.owner(thing.owner) or {}).get(name):
                return found
        return None

    def _first(self, parts: Sequence[ast.expr]) -> Thing | None:
        return next((thing for part in parts if (thing := self.evaluate(part))), None)

    def _named(self, name: str) -> Thing | None:
        if name == "self" and self._classes:
            return self.bases.get(self._classes[-1])
        for depth in range(len(self._scopes) - 1, -1, -1):
            if thing := self._things.get((self._scopes[depth], name)):
                return thing
        return self._by_name(name)

    def _by_name(self, name: str) -> Thing | None:
        return None if name in self._functions else self._names.get(name.lstrip("_"))

    def _attribute(self, node: ast.Attribute) -> Thing | None:
        if is_self(node.value) and (thing := self._things.get((self._class, node.attr))):
            return thing
        base = self.evaluate(node.value)
        if base == _ELSEWHERE:
            return base
        if base is None or base == OWN or (is_self(node.value) and not self.member(base, node.attr)):
            return self._by_name(node.attr)
        member = self.member(base, node.attr) if base.form in ("module", "class", "object") else None
        if member is None:
            return None
        if member.kind == "method":
            return Thing(base.library, base.owner, "method", node.attr)
        told = RETURNS.get((base.library, base.owner, node.attr), member.returns)
        return self._in_words(base.library, told, "class" if member.kind == "class" else "object")

    def _called(self, node: ast.Call) -> Thing | None:
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        callee = self.evaluate(node.func)
        if name == "importorskip" and isinstance(node.args[0], ast.Constant):
            module = str(node.args[0].value)
            return Thing(module, form="module") if module in self.libraries else _ELSEWHERE
        if callee == _ELSEWHERE:
            return callee
        if callee is None or callee == OWN:
            return self._called_of_ours(name, node)
        if callee.form == "class":
            return Thing(callee.library, callee.owner)
        if callee.form != "method":
            return None
        told = RETURNS.get((callee.library, callee.owner, callee.member))
        member = self.member(callee, callee.member)
        return self._in_words(callee.library, told or (member.returns if member else ""), "object")

    def _called_of_ours(self, name: str, node: ast.Call) -> Thing | None:
        if name in _PASS_ON and node.args:
            return self.evaluate(node.args[0])
        if name[:1].isupper():
            return OWN  # an object of a class of ours
        if name in _OF_CONTAINERS and isinstance(node.func, ast.Attribute):
            return OWN if self.evaluate(node.func.value) == OWN else None
        return MODULES.get(name) or FUNCTIONS.get(name) or self._results.get(name)

    def _in_words(self, library: str, words: str, form: str) -> Thing | None:
        for api in reversed(self.libraries[library]):
            if found := api.class_in(words):
                return Thing(library, found[0], "many" if found[1] else form)
        return None

    def _one_of(self, node: ast.expr) -> Thing | None:
        thing = self.evaluate(node)
        if thing and thing.form == "many":
            return Thing(thing.library, thing.owner)
        return thing if thing == OWN else None


def _is_ours(annotation: str) -> bool:
    """Whether a type tells that something is none of the libraries'."""
    return not re.search(r"\b(Any|object|trt|tensorrt)\b", annotation)


def is_self(node: ast.expr) -> bool:
    """Whether an expression is the name `self`."""
    return isinstance(node, ast.Name) and node.id == "self"


def _many(thing: Thing | None) -> Thing | None:
    return Thing(thing.library, thing.owner, "many") if thing and thing.form == "object" else None
