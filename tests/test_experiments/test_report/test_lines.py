"""The lines that tables and plots are made of."""

import pytest

from mmdmlora.experiments.report.lines import lines_of, method_of, row_order, span
from tests.invented_outcomes import FEWSHOT, GAINS, VTAB, accuracies, outcome


def test_rows_columns_and_tasks_in_order():
    shots = [('16', 0.0), ('2', 0.0), ('8', 0.0)]
    outcomes = accuracies(GAINS, FEWSHOT, shots, [0], table='fig2')
    (lines,) = lines_of(reversed(outcomes)).values()
    rows = ['Linear', 'RepAdapter', 'LoRA', 'DMLoRA', 'DMLoRA, not pruned', 'DMLoRA-LS']
    assert list(dict.fromkeys(line.row for line in lines)) == rows
    assert [line.column for line in lines[:3]] == ['2', '8', '16']
    assert list(lines[0].tasks) == ['food101', 'aircraft', 'flowers', 'pets', 'cars']


def test_tables_before_figures():
    names = ['fig2', 'study', 'table7', 'table1']
    blocks = lines_of(outcome(table=name) for name in names)
    assert [table for table, _ in blocks] == ['table1', 'table7', 'fig2', 'study']


@pytest.mark.parametrize(
    'row, method',
    [
        ('DMLoRA-LS', 'DMLoRA-LS'),
        ('DMLoRA, not pruned', 'DMLoRA'),
        ('DMLoRA-LS, n = 4', 'DMLoRA-LS'),
        ('LoRA with dropout', 'LoRA'),
        ('LoRA+', 'LoRA'),
        ('VPT-deep', 'VPT-deep'),
        ('Prefix', None),
    ],
)
def test_the_method_of_a_variant(row, method):
    assert method_of(row) == method


def test_a_row_of_no_known_method_comes_last():
    assert row_order(['Prefix', 'LoRA+', 'LoRA', 'Full']) == [
        'Full',
        'LoRA',
        'LoRA+',
        'Prefix',
    ]


def test_lora_of_the_same_column_is_the_reference():
    fractions = [('10 %', -30.0), ('100 %', 0.0)]
    outcomes = accuracies({'LoRA': 0.0, 'DMLoRA': 2.0}, columns=fractions)
    (lines,) = lines_of(outcomes).values()
    compared = [line.against_reference for line in lines]
    assert compared[:2] == [None, None]
    assert [c.mean for c in compared[2:]] == pytest.approx([2, 2], abs=0.7)


def test_only_means_of_the_papers_tasks_are_comparable():
    natural = {task: group for task, group in VTAB.items() if group == 'Natural'}
    some = {**natural, 'kitti': 'Structured'}
    (lines,) = lines_of(accuracies({'LoRA': 0.0}, some)).values()
    covered = {name: lines[0].covers(name) for name in ('Natural', 'Structured', 'Avg')}
    assert covered == {'Natural': True, 'Structured': False, 'Avg': False}
    (lines,) = lines_of(accuracies({'LoRA': 0.0}, VTAB, table='table6')).values()
    assert lines[0].covers('seconds')


def test_two_outcomes_of_one_run_are_refused():
    with pytest.raises(ValueError, match='two outcomes'):
        lines_of([outcome(), outcome()])


def test_a_span_of_numbers():
    assert span([12, 12]) == '12'
    assert span(iter([12, 8, 9])) == '8 to 12'
