"""Rows whose columns may be large, read in portions that PostgreSQL bounds by bytes before it hands them over.

A row that is larger than a portion, as one of numbers with long exponents is until it has been read, comes alone: a
process has one such at a time, and the connection does not keep the memory that it needed.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import Any, Generic, TypeVar

from django.core.exceptions import FieldDoesNotExist
from django.db.models import (
    BooleanField,
    Case,
    ExpressionWrapper,
    F,
    Func,
    IntegerField,
    Model,
    Q,
    QuerySet,
    RowRange,
    Sum,
    When,
    Window,
)
from django.db.models.expressions import BaseExpression

from core.postgresql.lending import drop, give_back

M = TypeVar("M", bound=Model)
# By the name of the attribute: what may be large, or where it comes from.
Large = Mapping[str, "BaseExpression | F"]
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Portion(Generic[M]):
    """The first of the rows that were asked for. `is_cut`: there are more of them, which did not fit."""

    rows: list[M]
    is_cut: bool


def own_columns(*names: str) -> Large:
    """Columns of the rows themselves."""
    return {name: F(name) for name in names}


def read_portion(rows: "QuerySet[M]", large: Large, *, count: int, size: int) -> Portion[M]:
    """The newest `count` of `rows`, or as many as have `size` bytes together; one at least, however large it is.

    None although it is cut when that one row was removed this very moment.

    Measured is the text of `large` as PostgreSQL shows it: jsonb may be stored in a 26th of that.
    """
    if not large:
        return Portion(rows=list(rows.order_by("-pk")[:count]), is_cut=False)
    found = list(_measured(rows, large, size)[:count])
    fitting = [row for row in found if row._fits] or _alone(rows, large, found[:1])
    for row in fitting:
        for name in large:
            setattr(row, name, getattr(row, f"_large_{name}"))
    return Portion(rows=fitting, is_cut=len(fitting) < len(found))


def _alone(rows: "QuerySet[M]", large: Large, found: "list[Any]") -> "list[Any]":
    """The row that was found, unless it is gone by now, whatever its size."""
    wanted = rows.filter(pk__in=[row.pk for row in found]).defer(*_columns_among(rows.model, list(large)))
    if not found:
        return []
    give_back()
    with _one_at_a_time:
        try:
            return list(wanted.annotate(**{f"_large_{name}": value for name, value in large.items()}))
        finally:
            drop()


def _measured(rows: "QuerySet[M]", large: Large, size: int) -> "QuerySet[Any]":
    """By one statement: a running sum in the order of the list, and the large values only where it allows for them."""
    lengths: list[Any] = [octets(expression) for expression in large.values()]
    fits = Q(_running__lte=size)
    measured: QuerySet[Any] = (
        rows.defer(*_columns_among(rows.model, list(large)))
        .alias(_running=_running(reduce(add, lengths)))
        .annotate(
            _fits=ExpressionWrapper(fits, output_field=BooleanField()),
            **{f"_large_{name}": Case(When(fits, then=value)) for name, value in large.items()},
        )
        .order_by("-pk")
    )
    return measured


def running_octets(name: str) -> Window:
    """How many bytes the column's text has in this row and all newer ones."""
    return _running(octets(F(name)))


def _running(length: Any) -> Window:
    return _Running(Sum(length), order_by=F("pk").desc(), frame=RowRange(end=0))


class _Running(Window):
    """Stands in a statement once for each large column, and is made into SQL once: that takes longer than the rest."""

    _made_by: Any = None
    _made: tuple[str, Sequence[Any]]

    def as_sql(self, compiler: Any, connection: Any, template: str | None = None) -> Any:
        if self._made_by is not compiler:
            self._made_by, self._made = compiler, super().as_sql(compiler, connection, template)
        # Who asked for it adds to its parameters.
        return self._made[0], list(self._made[1])


def octets(expression: Any) -> Func:
    """How many bytes the text of it has; 0 for none. Of what is stored as text it is known without reading that."""
    return Func(expression, template="COALESCE(octet_length((%(expressions)s)::text), 0)", output_field=IntegerField())


def _columns_among(model: type[Model], names: Sequence[str]) -> list[str]:
    found = []
    for name in names:
        try:
            model._meta.get_field(name)
        except FieldDoesNotExist:
            continue
        found.append(name)
    return found
