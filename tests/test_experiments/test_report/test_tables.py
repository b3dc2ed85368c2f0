"""The cells of the tables."""

import csv
import io

import pytest

from mmdmlora.experiments.claims import check_claims
from mmdmlora.experiments.report.lines import lines_of
from mmdmlora.experiments.report.records import csv_text
from mmdmlora.experiments.report.tables import claims_grid, grids
from tests.invented_outcomes import FEWSHOT, VTAB, accuracies, dispersions, outcome


def tables(outcomes) -> list[list[dict[str, str]]]:
    """The tables of one table and backbone, each a mapping of cells a row."""
    (lines,) = lines_of(outcomes).values()
    return [
        [
            dict(zip(grid.header, (c.replace('\u00a0', ' ') for c in row), strict=True))
            for row in grid.rows
        ]
        for grid in grids(lines)
    ]


def flat(row: str, accuracy: float, tasks=VTAB, seeds=(0,), **changes):
    """Outcomes that all have the same accuracy."""
    return [
        outcome(row=row, task=t, group=g, seed=seed, accuracy=accuracy + seed, **changes)
        for t, g in tasks.items()
        for seed in seeds
    ]


def test_no_zero_is_negative():
    outcomes = flat('DMLoRA-LS', 76.98, backbone='ViT-B/16')
    (row,) = tables(outcomes)[0]
    assert row['Avg: ours / paper / difference'] == '77.0 / 77.0 / +0.0'


def test_ours_the_papers_and_the_difference():
    outcomes = flat('DMLoRA-LS', 76.0, backbone='ViT-B/16', seeds=(0, 2))
    averages, by_task = tables(outcomes)
    (row,) = averages
    assert row['Avg: ours / paper / difference'] == '77.0 ± 1.4 / 77.0 / +0.0'
    assert row['Structured: ours / paper / difference'] == '77.0 ± 1.4 / 62.1 / +14.9'
    assert (row['seeds'], row['search runs']) == ('2', '12')
    assert by_task[0]['dtd'] == '77.0 ± 1.4'


def test_no_difference_to_a_mean_of_other_tasks():
    outcomes = flat('DMLoRA-LS', 70.0, {'dtd': 'Natural'}, backbone='ViT-B/16')
    ((row,),) = tables(outcomes)
    assert row['Avg: ours / paper / difference'] == '70.0 / 77.0 / –'


def test_a_row_without_all_tasks_has_no_average():
    done = flat('LoRA', 60.0, {'dtd': 'Natural', 'kitti': 'Structured'})
    averages, *_ = tables([*done, *flat('Linear', 50.0, {'dtd': 'Natural'})])
    linear, lora = averages
    assert linear['Avg'] == '– (1 of 2 tasks)' and linear['seeds'] == '0'
    assert linear['Natural'] == '50.0' and linear['Structured'] == '–'
    assert lora['Avg'] == '60.0'


def test_significance_is_marked():
    gains = {'Linear': -9.0, 'LoRA': 0.0, 'DMLoRA': 0.0, 'DMLoRA-LS': 4.0}
    averages, _, compared = tables(accuracies(gains))
    marks = {row['method']: row['Avg'][-1] for row in averages}
    assert marks['Linear'] == '▼' and marks['DMLoRA-LS'] == '▲'
    assert marks['LoRA'].isdigit()
    assert [row['method'] for row in compared] == ['Linear', 'DMLoRA', 'DMLoRA-LS']
    assert compared[2]['pairs'] == '15' and compared[2]['tasks that agree'] == '5 of 5'
    assert compared[0]['mean difference'].startswith('−')


def test_the_best_test_epoch_is_labelled():
    outcomes = flat('LoRA', 70.0, best_accuracy=72.5)
    averages, _ = tables(outcomes)
    assert averages[0]['best test epoch (chosen on test)'] == '72.5'
    assert 'best test epoch (chosen on test)' not in tables(flat('LoRA', 70.0))[0][0]


def test_fractions_stand_side_by_side_as_in_the_paper():
    fgvc = dict.fromkeys(['cub', 'nabirds', 'flowers', 'dogs', 'cars'], 'FGVC')
    outcomes = [
        one
        for column in ('10 %', '100 %')
        for one in flat(
            'LoRA', 70.0, fgvc, column=column, table='table5', backbone='ViT-B/16'
        )
    ]
    ((row,), _) = tables(outcomes)
    assert row['10 %: ours / paper / difference'] == '70.0 / 68.9 / +1.1'
    assert row['100 %: ours / paper / difference'] == '70.0 / 90.2 / −20.2'


def test_settings_are_the_papers_rows():
    outcomes = flat('DMLoRA-LS', 80.0, column='S3', table='table7', backbone='ViT-B/16')
    ((row,), _) = tables(outcomes)
    assert (row['method'], row['setting']) == ('DMLoRA-LS', 'S3')
    assert row['Natural: ours / paper / difference'] == '80.0 / 80.5 / −0.5'


def test_costs():
    common = dict(table='table6', backbone='ViT-B/16')
    outcomes = [
        *flat('LoRA', 70.0, seconds_per_epoch=2.0, **common),
        *flat('DMLoRA-LS', 70.0, seconds_per_epoch=2.1, step_bytes=None, **common),
    ]
    (lora, ls), *_ = tables(outcomes)
    title = 'seconds per epoch: ours / paper / difference'
    assert ls[title] == '2.10 / 3.20 / −1.10'
    assert [row['epoch / epoch of LoRA'] for row in (lora, ls)] == ['1.000', '1.050']
    assert ls['the same in the paper'] == '1.019'
    assert (lora['step memory (MiB)'], ls['step memory (MiB)']) == ('50.0', '–')


def test_dispersion_stands_beside_the_null():
    ranges, direct = tables(dispersions())
    cell = ranges[0]['caltech101: ours / paper / difference']
    assert cell.split(' / ')[1] == '210.7'
    ours, null = direct[0]['t-SNE range / null'].split(' / ')
    ratio = float(ours.split()[0]) / float(null.split()[0])
    assert ratio == pytest.approx(1.5, abs=0.01)
    assert direct[0]['range as a multiple of the null'] == '1.50 ± 0.00'


def test_claims_without_numbers_have_dashes():
    grid = claims_grid(check_claims([]))
    assert all(row[2:] == ['–'] * 4 for row in grid.rows)


def test_the_csv_has_every_number():
    outcomes = accuracies({'LoRA': 0.0, 'DMLoRA-LS': 1.0}, VTAB, backbone='ViT-B/16')
    (lines,) = lines_of(outcomes).values()
    records = list(csv.DictReader(io.StringIO(csv_text(lines))))
    ls = [r for r in records if r['row'] == 'DMLoRA-LS']
    accuracy = {r['over']: r for r in ls if r['measure'] == 'test top-1 (%)'}
    assert len(accuracy) == 19 + 3 + 1
    assert float(accuracy['Avg']['mean']) == pytest.approx(
        lines[1].averages().overall.mean
    )
    assert accuracy['Avg']['paper'] == '77.0' and accuracy['Avg']['pairs'] == '57'
    assert accuracy['dtd']['settings'] == '{"model.backbone.num_branches": 8}'
    assert {r['measure'] for r in ls} >= {'seconds', 'seconds per epoch', 'step bytes'}
    assert all(not r['paper'] for r in ls if r['measure'] == 'seconds')


def test_the_csv_of_costs_and_dispersion_has_the_papers_numbers():
    blocks = lines_of(
        [*dispersions(), *flat('DMLoRA-LS', 70.0, table='table6', backbone='ViT-B/16')]
    )
    papers = {
        (r['measure'], r['over'], r['column']): r['paper']
        for lines in blocks.values()
        for r in csv.DictReader(io.StringIO(csv_text(lines)))
        if r['paper']
    }
    assert papers['t-SNE range', 'dmlab', 'n = 16'] == '1127.5'
    assert papers['seconds per epoch', 'Avg', ''] == '3.2'
    assert papers['test top-1 (%)', 'Avg', ''] == '77.0'
    assert len(papers) == 6 + 3


def test_few_shot_tables_have_no_paper():
    outcomes = accuracies({'LoRA': 0.0}, FEWSHOT, [('4', 0.0)], table='fig2')
    ((row,), _) = tables(outcomes)
    assert set(row) == {'method', '4', 'seeds', 'search runs'}


def test_choices_at_an_end_of_their_space_are_counted():
    high = flat('LoRA', 60.0, {'dtd': 'Natural'}, seeds=(0, 1), ends=('lr, highest',))
    inside = flat('LoRA', 60.0, {'kitti': 'Structured'})
    *_, ends = tables([*high, *inside, *flat('Linear', 50.0)])
    assert ends == [
        {
            'method': 'LoRA',
            'searched setting and its end': 'lr, highest',
            'tasks': '1 of 2',
        }
    ]
