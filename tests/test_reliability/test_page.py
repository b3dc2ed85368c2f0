"""docs/messages.md says what the code says."""

import pytest

from tests.test_reliability.page import TABLES, row, rows_on_page

ALL = [(table, title) for table, cases in TABLES.items() for title in cases]


@pytest.mark.parametrize(('table', 'title'), ALL, ids=lambda value: str(value))
def test_row(table, title, tmp_path):
    assert row(title, TABLES[table][title], tmp_path) in rows_on_page(table)


@pytest.mark.parametrize('table', TABLES)
def test_no_row_is_left_over(table):
    titles = [line.split(' | ')[0].removeprefix('| ') for line in rows_on_page(table)]
    assert titles == list(TABLES[table])
