"""The few statements that are executed for every message, handed to the driver as text.

SQLAlchemy compiles them, once for each database; their values are brought into the driver's form here, by the types of
the columns as SQLAlchemy would. What is saved is its work at each execution, which for small groups is more than the
database's own (docs/design/0014-hot-statements.md).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias, TypeVar

from sqlalchemy import Connection, Delete, Dialect, Insert, Select, Update
from sqlalchemy.sql.compiler import Compiled, ExpandedState, SQLCompiler
from sqlalchemy.types import TypeEngine

from sync.ledger.repository import IN_MAX

Values: TypeAlias = Mapping[str, object]
Key = TypeVar("Key", int, str, bytes)
_Convert: TypeAlias = Callable[[object], object]

KEYS: Final = "keys"
"""The name of the expanding parameter of statements that are about some rows."""


@dataclass(frozen=True, slots=True)
class _Value:
    """A parameter: what it is given as (None: `constant`), and how the driver wants it."""

    name: str
    given: bool
    convert: _Convert | None
    constant: object


@dataclass(frozen=True, slots=True)
class _Text:
    """A statement as one driver takes it. `by_name`: the driver wants a mapping, else a tuple in this order."""

    sql: str
    values: tuple[_Value, ...]
    by_name: bool

    def row(self, given: Values) -> tuple[object, ...] | dict[str, object]:
        """The values of one execution."""
        made = [
            value.constant
            if not value.given
            else given[value.name]
            if value.convert is None
            else value.convert(given[value.name])
            for value in self.values
        ]
        if self.by_name:
            return {value.name: one for value, one in zip(self.values, made, strict=True)}
        return tuple(made)


class ManyTimes:
    """A statement that is executed for each of many rows of values, which are given by name."""

    def __init__(self, statement: Insert | Update) -> None:
        self._statement = statement
        self._texts: dict[str, _Text] = {}

    def execute(self, tx: Connection, rows: Sequence[Values]) -> int:
        """How many rows of the table were written. The first row of values names the columns of an INSERT."""
        text = self._text(tx, rows)
        return tx.exec_driver_sql(text.sql, [text.row(row) for row in rows]).rowcount

    def _text(self, tx: Connection, rows: Sequence[Values]) -> _Text:
        text = self._texts.get(tx.dialect.name)
        if text is None:
            columns = list(rows[0]) if isinstance(self._statement, Insert) else None
            compiled = self._statement.compile(dialect=tx.dialect, column_keys=columns)
            text = self._texts[tx.dialect.name] = _text_of(compiled, tx.dialect, set(rows[0]))
        return text


class ForKeys:
    """A statement about the rows whose keys are among the expanding parameter `keys`; what else it asks for stands in
    parameters that are given by name. It is compiled for a few numbers of keys; the last key is repeated up to the next
    of them, which changes nothing in an `IN`. Keys are values that the driver takes as they are."""

    def __init__(self, statement: Select[*tuple[object, ...]] | Update | Delete) -> None:
        self._statement = statement
        self._texts: dict[tuple[str, int], _Text] = {}
        self._results: dict[str, tuple[tuple[int, _Convert], ...]] = {}

    def execute(self, tx: Connection, keys: Collection[Key]) -> int:
        """How many rows were written."""
        return sum(self._run(tx, some, {})[0] for some in _pieces(keys))

    def read(self, tx: Connection, keys: Collection[Key], **given: object) -> list[tuple[object, ...]]:
        """The rows, each as a plain tuple in the order of the statement's columns."""
        rows = [row for some in _pieces(keys) for row in self._run(tx, some, given)[1]]
        converts = self._results.get(tx.dialect.name)
        if converts is None:
            columns = self._statement.selected_columns if isinstance(self._statement, Select) else ()
            found = ((at, _result(one.type, tx.dialect)) for at, one in enumerate(columns))
            converts = tuple((at, convert) for at, convert in found if convert is not None)
            self._results[tx.dialect.name] = converts
        if not converts:
            return rows
        return [_converted(row, converts) for row in rows]

    def _run(self, tx: Connection, keys: Sequence[Key], given: Values) -> tuple[int, list[tuple[object, ...]]]:
        size: int = 1 << (len(keys) - 1).bit_length()
        text = self._texts.get((tx.dialect.name, size))
        if text is None:
            compiled = self._statement.compile(dialect=tx.dialect)
            state = compiled.construct_expanded_state({KEYS: [keys[0]] * size, **given})
            text = self._texts[tx.dialect.name, size] = _Text(
                state.statement,
                tuple(
                    _Value(
                        name,
                        given=name in given or name in state.parameter_expansion[KEYS],
                        convert=None,
                        constant=_plain(state, name),
                    )
                    for name in state.positiontup or state.parameters
                ),
                by_name=state.positiontup is None,
            )
        padded = [*keys, *[keys[-1]] * (size - len(keys))]
        values = {f"{KEYS}_{number}": key for number, key in enumerate(padded, 1)}
        result = tx.exec_driver_sql(text.sql, text.row({**values, **given}))
        return (0, [tuple(row) for row in result]) if result.returns_rows else (result.rowcount, [])


def _pieces(keys: Collection[Key]) -> list[Sequence[Key]]:
    every = sorted(keys)
    return [every[start : start + IN_MAX] for start in range(0, len(every), IN_MAX)]


def _converted(row: tuple[object, ...], converts: Sequence[tuple[int, _Convert]]) -> tuple[object, ...]:
    made = list(row)
    for at, convert in converts:
        made[at] = convert(made[at])
    return tuple(made)


def _plain(state: ExpandedState, name: str) -> object:
    """A constant as the driver wants it."""
    convert = state.processors.get(name)
    constant: object = state.parameters[name]
    return constant if convert is None or isinstance(convert, tuple) else convert(constant)


def _text_of(compiled: Compiled, dialect: Dialect, given: Collection[str]) -> _Text:
    if not isinstance(compiled, SQLCompiler):
        raise TypeError("a statement is made by the compiler of statements")
    converts: dict[str, _Convert] = {}
    for bind, name in compiled.bind_names.items():
        convert = bind.type.dialect_impl(dialect).bind_processor(dialect)
        if convert is not None:
            converts.setdefault(name, convert)
    constants = compiled.params
    values = []
    for name in compiled.positiontup or constants:
        found = converts.get(name)
        if name in given:
            values.append(_Value(name, given=True, convert=found, constant=None))
        else:
            constant = constants[name]
            values.append(_Value(name, given=False, convert=None, constant=found(constant) if found else constant))
    return _Text(compiled.string, tuple(values), by_name=compiled.positiontup is None)


def _result(kind: TypeEngine[object], dialect: Dialect) -> _Convert | None:
    return kind.dialect_impl(dialect).result_processor(dialect, None)
