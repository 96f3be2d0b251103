"""The paper's own tables, whole: what it reports of its data and models, to look at beside ours of any data."""

from __future__ import annotations

import math
from collections.abc import Iterator

from trustcache.paper.comparisons import COLUMNS, LABELS, heads
from trustcache.paper.paper_index import pair_name
from trustcache.paper.published import DEFINITIONS, figures
from trustcache.report.table import Cell, Row, Table, grouped_table


def published_tables(key: str) -> tuple[Table, ...]:
    """Return a table of the paper as it was published, by the key of its artefact; () where it is not kept here."""
    if key not in DEFINITIONS:
        return ()
    protocol = DEFINITIONS[key].protocol
    note = "The paper's own figures, of its data and models, not of this workspace; – is one that it does not give."
    title = f"as published · protocol {protocol}"
    return (grouped_table(title, LABELS, heads(COLUMNS, protocol), _rows(key), (note,)),)


def _rows(key: str) -> Iterator[Row]:
    found = figures()
    for table, data, oracle, classifier, method in dict.fromkeys(entry[:5] for entry in found):
        if table == key:
            cells = (found.get((table, data, oracle, classifier, method, metric), Cell(math.nan)) for metric in COLUMNS)
            yield Row((pair_name((oracle, classifier)), data, method), tuple(cells), "published")
