"""All that a report shows, before any renderer writes it."""

from __future__ import annotations

import datetime
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from trustcache.cache.versions import software_versions
from trustcache.cache.workspace import file_name
from trustcache.report.answer import Answer
from trustcache.report.charts import Chart
from trustcache.report.comparison import Comparison, compare_methods, legend
from trustcache.report.failures import Failures
from trustcache.report.records import Record, Scored
from trustcache.report.selection import Selection, select
from trustcache.report.stated_on import place_in
from trustcache.report.table import Section, Table
from trustcache.report.unit_charts import unit_charts
from trustcache.report.units import Unit

TO_DRAW = "Not everything is drawn yet; what is missing takes"


def made_with() -> dict[str, str]:
    """Return today's date and the versions of the software that computes the figures."""
    today = datetime.date.today().isoformat()
    return {"date": today, "python": platform.python_version(), **software_versions("torch", "timm", "numpy")}


def place_of(answers: Sequence[Answer], order: Sequence[str] = ()) -> Callable[[Comparison], tuple[bool, int]]:
    """Return the key that sorts comparisons: the data sets of `order` first, those there for a threshold last."""
    spare = {(answer.classifier, name) for answer in answers for name in answer.spare}
    return lambda one: ((one.classifier, one.dataset) in spare, place_in(order, one.dataset))


@dataclass(frozen=True)
class Contents:
    """Contents of a report.

    scored: every method on every data set, of which the comparisons are made. notes: sentences on what is missing, with
    `code` in backticks. tables: those after the comparisons. made: how the report was made, as term and value.
    answers: one a classifier; units, failures: one an answer. alone: the page of the answer is all that is kept. order:
    data sets that come first.
    """

    scored: Sequence[Scored]
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()
    sections: Sequence[Section] = ()
    made: Mapping[str, str] = field(default_factory=made_with)
    answers: Sequence[Answer] = ()
    units: Sequence[Unit] = ()
    failures: Sequence[Failures] = ()
    alone: bool = False
    order: Sequence[str] = ()

    @property
    def records(self) -> list[Record]:
        return [one.record for one in self.scored]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """One a data set, classifier and protocol, placed by `place_of`."""
        return sorted(compare_methods(self.records), key=place_of(self.answers, self.order))

    @cached_property
    def selection(self) -> Selection:
        """The data sets to bring forward."""
        return select(self.scored)

    @property
    def legend(self) -> dict[str, list[tuple[str, str]]]:
        """The terms of the comparisons with their meanings, by group."""
        return legend(self.comparisons)

    def every_table(self) -> Iterator[tuple[str, str, Table]]:
        """Yield each table with the key and title of what it belongs to."""
        for comparison in self.comparisons:
            yield "comparison", "Comparison", comparison.table()
        for table in self.tables:
            yield "detail", "", table
        for section in self.sections:
            yield from ((one.key, one.title, table) for one in section.exhibits for table in one.tables)

    @cached_property
    def figure_files(self) -> dict[str, Chart]:
        """The charts that are kept as files, by the name of their files."""
        exhibits = [one for section in self.sections for one in section.exhibits]
        drawn = {f"{one.key}-{i}": figure.chart for one in exhibits for i, figure in enumerate(one.figures, 1)}
        for unit in self.units:
            prefix = f"{file_name(unit.classifier)}-" if len(self.units) > 1 else ""
            drawn |= {f"{prefix}{name}": chart for name, chart in unit_charts(unit).items()}
        return drawn
