"""The error codes that the program can say, read out of its source.

A code is what stands where a code is taken: in an argument or a field of the name `code` (by keyword, or by position
where a function or a class of the project declares one), in an assignment to that name, in its default, in a comparison
with it. Names of constants are followed. What an f-string puts in is found out where it can only be
a few things (the names of the connectors on the REST kit, the ways in which an exchange fails); elsewhere it stands for
anything.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sync.http.exchange import Why

ROOT = Path(__file__).resolve().parents[1]
ANYTHING = "…"
"""Stands in a code for what only a service decides: `inbox.status_…`."""

_CODE = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_…]*|\.…)|interrupted")
_NOT_OF_THE_PROGRAM = {"sandbox", "testing", "demo"}


@dataclass(frozen=True, slots=True)
class _Module:
    path: Path
    tree: ast.Module


def _modules() -> list[_Module]:
    files = [*(ROOT / "sync").rglob("*.py"), *(ROOT / "connectors").rglob("*.py")]
    kept = [file for file in sorted(files) if file.relative_to(ROOT).parts[1] not in _NOT_OF_THE_PROGRAM]
    return [_Module(file, ast.parse(file.read_text(encoding="utf-8"))) for file in kept]


def _constants(modules: list[_Module]) -> dict[str, set[ast.expr]]:
    """What each UPPER_CASE name of the project stands for."""
    found: dict[str, set[ast.expr]] = {}
    for module in modules:
        for node in module.tree.body:
            target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
            value = getattr(node, "value", None)
            if isinstance(target, ast.Name) and target.id.isupper() and isinstance(value, ast.expr):
                found.setdefault(target.id, set()).add(value)
    return found


def _takers(modules: list[_Module]) -> dict[str, set[int]]:
    """Functions and classes that take a `code`, with its place among their arguments."""
    found: dict[str, set[int]] = {}
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                names = [one.arg for one in node.args.posonlyargs + node.args.args]
                names = names[1:] if names[:1] in (["self"], ["cls"]) else names
            elif isinstance(node, ast.ClassDef):
                names = [
                    one.target.id
                    for one in node.body
                    if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
                ]
            else:
                continue
            if "code" in names:
                found.setdefault(node.name, set()).add(names.index("code"))
    return found


def _called(call: ast.Call) -> str:
    if isinstance(call.func, ast.Attribute):
        return call.func.attr
    return call.func.id if isinstance(call.func, ast.Name) else ""


def _places(module: _Module, takers: dict[str, set[int]]) -> Iterator[ast.expr]:
    """The expressions that give a code."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            yield from (one.value for one in node.keywords if one.arg == "code")
            yield from (node.args[at] for at in takers.get(_called(node), ()) if at < len(node.args))
        elif isinstance(node, ast.Assign) and "code" in {
            one.id for target in node.targets for one in ast.walk(target) if isinstance(one, ast.Name)
        }:
            yield node.value
        elif isinstance(node, ast.Compare) and ast.unparse(node.left).split(".")[-1] == "code":
            yield from node.comparators
        elif isinstance(node, ast.Dict):
            pairs = zip(node.keys, node.values, strict=True)
            yield from (value for key, value in pairs if isinstance(key, ast.Constant) and key.value == "code")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            plain = node.args.args[len(node.args.args) - len(node.args.defaults) :]
            given = [*zip(plain, node.args.defaults, strict=True)]
            given += [(one, it) for one, it in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if it]
            yield from (default for one, default in given if one.arg == "code")


class _Reader:
    def __init__(self, modules: list[_Module]) -> None:
        self.constants = _constants(modules)
        self.rest_names = sorted(
            {
                module.path.parent.name
                for module in modules
                if module.path.parent.parent.name == "connectors" and "RestClient" in ast.unparse(module.tree)
            }
        )

    def codes(self, expression: ast.expr, module: _Module) -> Iterator[str]:
        if isinstance(expression, ast.Constant) and isinstance(expression.value, str):
            yield expression.value
        elif isinstance(expression, ast.JoinedStr):
            yield from self._filled(expression, module)
        elif isinstance(expression, ast.Name) and expression.id.isupper():
            for value in self.constants.get(expression.id, ()):
                yield from self.codes(value, module)
        elif isinstance(expression, ast.IfExp):
            yield from self.codes(expression.body, module)
            yield from self.codes(expression.orelse, module)
        elif isinstance(expression, ast.BoolOp):
            for value in expression.values:
                yield from self.codes(value, module)
        elif isinstance(expression, ast.Subscript) and isinstance(expression.value, ast.Dict):
            for value in expression.value.values:
                yield from self.codes(value, module)
        elif isinstance(expression, ast.Tuple):
            for value in expression.elts:
                yield from self.codes(value, module)

    def _filled(self, text: ast.JoinedStr, module: _Module) -> list[str]:
        made = [""]
        for part in text.values:
            if isinstance(part, ast.Constant):
                options = [str(part.value)]
            else:
                options = self._put_in(ast.unparse(part).strip("f'{}\""), module)
            made = [before + option for before in made for option in options]
        return made

    def _put_in(self, name: str, module: _Module) -> list[str]:
        last = name.rsplit(".", maxsplit=1)[-1]
        folder = module.path.parent
        if name == "NAME":
            return [folder.name]
        if last == "why":
            return [why.value for why in Why]
        if last == "name" and folder.name == "rest":
            return self.rest_names
        if last == "name" and folder.parent.name == "connectors":
            return [folder.name]
        return [ANYTHING]


def said() -> dict[str, str]:
    """Every code, with one of the places where it is raised."""
    modules = _modules()
    takers, reader = _takers(modules), _Reader(modules)
    found: dict[str, str] = {}
    for module in modules:
        for expression in _places(module, takers):
            place = f"{module.path.relative_to(ROOT)}:{expression.lineno}"
            for code in reader.codes(expression, module):
                if _CODE.fullmatch(code):
                    found.setdefault(code, place)
    return found
