"""Each table needs exactly the runs that it is made of."""

from dataclasses import replace
from pathlib import Path

import pytest

from mmdmlora import cli
from mmdmlora.cli import reproduce
from mmdmlora.experiments.protocol import needs
from mmdmlora.experiments.search import Choice, Trial
from mmdmlora.experiments.study import CORE, RATE, STUDY, pruning
from mmdmlora.experiments.suites import mini_suite, paper_suite
from mmdmlora.experiments.tables import NOT_PRUNED, TABLES, Plan, cells_of

PAPER = Plan(paper_suite(), trials=9)
# One task of each group and benchmark, two of them in table 1.
FEW = replace(
    PAPER,
    tasks=('vtab-dtd', 'vtab-eurosat', 'vtab-clevr-dist', 'fgvc-cub', 'fewshot-pets'),
)
MINI = Plan(mini_suite(), trials=6)
SEEDS = 3


def size(vtab: int, dispersed: int, fgvc: int, fewshot: int) -> dict[str, int]:
    """The cells of each table by its numbers of tasks."""
    return dict(
        table1=dispersed * 3,
        table3=15 * vtab,
        table4=2 * 7 * vtab,
        table5=2 * 4 * fgvc,
        table6=3 * vtab,
        table7=4 * vtab,
        fig2=5 * 5 * fewshot,
    )


@pytest.mark.parametrize('name', TABLES)
def test_the_papers_tables(name):
    whole = cells_of(name, PAPER)
    assert len(whole) == size(vtab=19, dispersed=9, fgvc=5, fewshot=5)[name]
    assert len({(c.backbone, c.row, c.column, c.task) for c in whole}) == len(whole)
    assert all(len(cell.seeds) == SEEDS for cell in whole)


@pytest.mark.parametrize('name', TABLES)
def test_every_cell_is_a_run_for_each_seed(name):
    need = needs(cells_of(name, FEW), 'test')
    assert len(need.final) == SEEDS * size(vtab=3, dispersed=2, fgvc=1, fewshot=1)[name]
    contenders = dict(
        table1=2, table3=15 * 3, table4=14 * 3, table5=2, table6=9, table7=12, fig2=5
    )
    assert len(need.searches) == contenders[name]
    assert {trials for _, trials in need.searches} == {9}


def test_tables_share_runs():
    names = ('table3', 'table6', 'table7')
    together = [cell for name in names for cell in cells_of(name, FEW)]
    need = needs(together, 'test')
    # Table 6 adds LoRA on ViT-B/16; RepAdapter and DMLoRA-LS are there. Table 7 adds
    # three settings with their searches, its fourth is the row of table 3.
    assert len(need.final) == (15 + 1 + 3) * 3 * SEEDS
    assert len(need.searches) == (16 + 3) * 3


def test_other_backbones_have_rates_of_a_tenth():
    embedded, other = mini_suite(), mini_suite('dinov2-s14-56')
    for method in ('lora', 'full', 'vpt-shallow', 'repadapter'):
        own, tenth = (suite.space_of(method).values for suite in (embedded, other))
        assert tenth.keys() == own.keys()
        assert [10 * lr for lr in tenth[RATE]] == pytest.approx(own[RATE])
    # Those that the study has for LoRA.
    assert tuple(other.space_of('lora').values[RATE]) == other.rates


def test_the_mini_suite():
    counts = {n: len(needs(cells_of(n, MINI), 'test').final) for n in TABLES}
    assert counts == dict(
        table1=3 * 3 * SEEDS,
        table3=11 * 5 * SEEDS,
        table4=0,
        table5=2 * 5 * 4 * SEEDS,
        table6=3 * 5 * SEEDS,
        table7=3 * 5 * SEEDS,  # S3 is what the optimal setting prunes like
        fig2=5 * 5 * 5 * SEEDS,
    )


def test_all_methods_have_as_many_search_runs():
    for plan, number in ((MINI, 6), (FEW, 9)):
        need = needs(cells_of('table3', plan), 'test')
        assert {trials for _, trials in need.searches} == {number}


def test_every_seed_has_images_of_its_own():
    (cell,) = [
        c for c in cells_of('table3', MINI) if (c.row, c.task) == ('LoRA', 'digits')
    ]
    for seed, run in cell.runs(None, 'test').items():
        config = run.resolved()
        assert config['randomness']['seed'] == seed
        for loader in ('train_dataloader', 'test_dataloader'):
            assert config[loader]['dataset']['seed'] == seed


def test_few_images_are_not_left_out():
    for name in ('table5', 'fig2'):
        for cell in cells_of(name, MINI):
            if cell.column != '100 %':
                assert cell.fixed['train_dataloader.drop_last'] is False


def test_the_whole_training_set_is_the_run_of_table_3():
    plan = Plan(mini_suite(), 6, tasks=('digits',), methods=('LoRA',))
    whole = [c for c in cells_of('table5', plan) if c.column == '100 %']
    (row,) = cells_of('table3', plan)
    assert whole[0].runs(None, 'test')[1].key == row.runs(None, 'test')[1].key


@pytest.mark.parametrize(('options', 'halving'), [((), True), (('--no-halving',), False)])
def test_every_search_is_halved_or_none(options, halving, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(reproduce, 'dry_run', asked.append)
    command = ['reproduce', 'all', 'study', '--suite', 'mini', '--dry-run', *options]
    cli.main([*command, '--work-dir', str(tmp_path)])
    cells = [cell for cells in asked[0].cells().values() for cell in cells]
    assert {cell.search.halving for cell in cells if cell.search} == {halving}


def test_narrowing():
    plan = Plan(paper_suite(), 9, (4,), ('vtab-dtd',), ('LoRA', 'DMLoRA-LS'))
    cells = cells_of('table3', plan)
    assert {(c.backbone, c.row) for c in cells} == {
        ('ConvNeXt-B', 'LoRA'),
        ('ConvNeXt-B', 'DMLoRA-LS'),
        ('Swin-B', 'DMLoRA-LS'),
        ('ViT-B/16', 'DMLoRA-LS'),
    }
    assert all(cell.task == 'vtab-dtd' and [*cell.seeds] == [4] for cell in cells)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (dict(tasks=('vtab-dtd',)), "no task 'vtab-dtd' here: known are digits"),
        (dict(methods=('lora',)), "no method 'lora' here: known are Full"),
    ],
)
def test_unknown_names(change, message):
    with pytest.raises(ValueError, match=message):
        cells_of('table3', Plan(mini_suite(), **change))
    with pytest.raises(ValueError, match="no table 'table2': known are table1"):
        cells_of('table2', MINI)


def test_data_folders():

    plan = Plan(paper_suite(data_root=Path('/data')), trials=0)
    cells = [
        *cells_of('table3', plan),
        *cells_of('table5', plan),
        *cells_of('fig2', plan),
    ]
    roots = {
        (cell.task.split('-')[0], cell.settings['train_dataloader.dataset.data_root'])
        for cell in cells
    }
    assert roots == {
        ('vtab', '/data/vtab-1k'),
        ('fgvc', '/data/fgvc'),
        ('fewshot', '/data/few-shot'),
    }


def test_the_study_searches_as_much_for_every_contender():
    plan = Plan(mini_suite(), 12, (0,), ('digits',))
    cells = cells_of('study', plan)
    assert [cell.row for cell in cells] == [*STUDY]
    need = needs(cells, 'test')
    assert [trials for _, trials in need.searches] == [12] * len(STUDY)
    assert len(need.final) == len(STUDY)
    assert set(CORE) <= set(STUDY)


def test_what_a_search_has_chosen_holds_in_the_final_runs():
    """Of all contenders, that which is trained for fewer epochs than the suite too."""
    for cell in cells_of('study', Plan(mini_suite(), 12, (0,), ('digits',))):
        chosen = [*cell.search.space.combinations()][-1]
        choice = Choice([Trial(chosen, 50.0, is_whole=True)])
        (run,) = cell.runs(choice, 'test').values()
        assert run.settings.items() >= chosen.items()


def test_a_contender_of_fewer_epochs():
    suite = mini_suite(settings={'train_cfg.max_epochs': 60})
    plan = Plan(suite, 12, (0,), ('digits',), ('LoRA, fewer epochs',))
    (cell,) = cells_of('study', plan)
    assert cell.search.space.values['train_cfg.max_epochs'] == [15, 30]


@pytest.mark.parametrize('plan', [MINI, FEW])
def test_a_setting_of_the_pruning_holds_in_its_search_too(plan):
    """Else what was chosen for one schedule would be compared under another."""
    cells = [
        *cells_of('table7', plan),
        *cells_of('table1', plan),
        *(c for c in cells_of('table3', plan) if c.row == NOT_PRUNED),
    ]
    for cell in cells:
        trial = next(cell.search.space.combinations())
        searched = cell.search.run_of(trial).resolved()['default_hooks']
        final = cell.runs(Choice([Trial(trial, 50.0, is_whole=True)]), 'test')
        for run in final.values():
            hooks = run.resolved()['default_hooks']
            assert hooks['branch_pruning'] == searched['branch_pruning']


def test_epochs_that_the_user_sets_are_not_searched():
    suite = paper_suite({'train_cfg.max_epochs': 7})
    for cell in cells_of('table7', replace(FEW, suite=suite)):
        trial = next(cell.search.space.combinations())
        assert cell.search.run_of(trial).max_epochs == 7
        assert {run.max_epochs for run in cell.runs(None, 'test').values()} == {7}


@pytest.mark.parametrize(
    ('interval', 'branches', 'left'),
    [(1 / 3, 8, 6), (1 / 3, 6, 4), (1 / 30, 8, 1), (2 / 3, 8, 7), (0.5, 4, 3), (1, 8, 8)],
)
def test_what_pruning_leaves(interval, branches, left):
    assert pruning(interval, branches)['min_branches'] == left
