"""The paper's tables and figures as cells."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from .cells import Cell
from .runs import Run
from .search import Search
from .spaces import Settings
from .study import BRANCHES, FAST, PRUNING, SLOW, STUDY, pruning
from .suites import Suite

# Row of the paper: a file of configs/_base_/methods.
METHODS = {
    'Full': 'full',
    'Linear': 'linear',
    'BitFit': 'bitfit',
    'Adapter': 'adapter',
    'VPT-shallow': 'vpt-shallow',
    'VPT-deep': 'vpt-deep',
    'RepAdapter': 'repadapter',
    'LoRA': 'lora',
    'DMLoRA': 'dmlora-fixed-scale',
    'DMLoRA-LS': 'dmlora',
}
NOT_PRUNED = 'DMLoRA, not pruned'
TABLE3 = {
    'ConvNeXt-B': ('Full', 'Linear', 'LoRA', 'RepAdapter', 'DMLoRA-LS'),
    'Swin-B': ('Full', 'Linear', 'VPT-deep', 'RepAdapter', 'DMLoRA-LS'),
    'ViT-B/16': ('Full', 'Linear', 'VPT-deep', 'RepAdapter', 'DMLoRA-LS'),
}
TABLE4 = (
    *('Full', 'Linear', 'BitFit', 'Adapter', 'VPT-shallow', 'VPT-deep', 'DMLoRA-LS'),
)
FEWSHOT = ('VPT-deep', 'Adapter', 'LoRA', 'RepAdapter', 'DMLoRA-LS')
SHOTS = (1, 2, 4, 8, 16)
FRACTIONS = (0.1, 0.5, 0.8, 1.0)
DISPERSED = (4, 8, 16)
ABLATION: dict[str, Settings] = {
    'S1': {BRANCHES: 8, PRUNING: pruning(SLOW, 8)},
    'S2': {BRANCHES: 6, PRUNING: pruning(SLOW, 6)},
    'S3': {BRANCHES: 8, PRUNING: pruning(FAST, 8)},
    'Optimal': {},
}


@dataclass(frozen=True)
class Plan:
    """What a table is asked to hold.

    Attributes:
        suite: Backbones and tasks.
        trials: Search runs of each contender and task; 0 takes the configs' settings.
        seeds: The seeds of the final runs.
        tasks: Only these tasks; None means all.
        methods: Only these rows; None means all.
        halving: Whether searches train only the best third of their trials in full.
    """

    suite: Suite
    trials: int = 12
    seeds: tuple[int, ...] = (0, 1, 2)
    tasks: tuple[str, ...] | None = None
    methods: tuple[str, ...] | None = None
    halving: bool = True

    def cell(
        self,
        table: str,
        row: str,
        task: tuple[str, str],
        *,
        backbone: tuple[str, str] | None = None,
        column: str = '',
        settings: Settings | None = None,
        fixed: Settings | None = None,
        details: tuple[str, ...] = (),
        is_fewshot: bool = False,
    ) -> Cell:
        """A cell, with the search of its method, backbone and task.

        Args:
            table: The table's name.
            row: A key of :data:`METHODS`, :data:`NOT_PRUNED`, or a file of
                ``configs/_base_/methods``.
            task: Its name and its group.
            backbone: Its name in the table and its file; by default the suite's.
            column: The condition's name.
            settings: What makes the contender, settings of its trials too: it is
                searched by itself.
            fixed: The condition's settings, over those that the search has chosen.
            details: See :class:`~mmdmlora.experiments.cells.Cell`.
            is_fewshot: Whether seeds choose few-shot images.
        """
        suite = self.suite
        label, file = backbone or next(
            (name, f) for name, f in suite.backbones.items() if f == suite.backbone
        )
        method = METHODS['DMLoRA'] if row == NOT_PRUNED else METHODS.get(row, row)
        config = f'{method}/{file}_{task[0]}'
        settings = {**suite.settings_of(task[0]), **(settings or {})}
        search = None
        if self.trials:
            space = suite.space_of(method).without(settings)
            search = Search(config, space, self.trials, settings, self.halving)
        seeded = suite.fewshot_seeded if is_fewshot else suite.seeded
        return Cell(
            table=table,
            backbone=label,
            row=row,
            column=column,
            task=task[0],
            group=task[1],
            config=config,
            search=search,
            seeds={seed: seeded(seed) for seed in self.seeds},
            settings=settings,
            fixed=fixed or {},
            details=details,
        )

    def rows(self, rows: Sequence[str]) -> list[str]:
        """Those of the rows that are wanted."""
        return [r for r in rows if self.methods is None or r in self.methods]

    def chosen(self, tasks: dict[str, str]) -> list[tuple[str, str]]:
        """Those of the tasks that are wanted, with their groups."""
        return [t for t in tasks.items() if self.tasks is None or t[0] in self.tasks]


def _table1(plan: Plan) -> Iterator[Cell]:
    """Branches that aren't pruned, for the dispersion of their weights."""
    groups = {task: plan.suite.tasks[task] for task in plan.suite.dispersed}
    for task in plan.chosen(groups):
        for count in DISPERSED:
            yield plan.cell(
                'table1',
                NOT_PRUNED,
                task,
                column=f'n = {count}',
                settings={PRUNING: None},
                fixed={BRANCHES: count},
                details=('dispersion',),
            )


def _table3(plan: Plan) -> Iterator[Cell]:
    suite = plan.suite
    for label, file in suite.backbones.items():
        for row in plan.rows(TABLE3.get(label, [*METHODS, NOT_PRUNED])):
            for task in plan.chosen(suite.tasks):
                settings = {PRUNING: None} if row == NOT_PRUNED else {}
                place = (label, file)
                yield plan.cell('table3', row, task, backbone=place, settings=settings)


def _table4(plan: Plan) -> Iterator[Cell]:
    for label, file in plan.suite.pretrained.items():
        for row in plan.rows(TABLE4):
            for task in plan.chosen(plan.suite.tasks):
                yield plan.cell('table4', row, task, backbone=(label, file))


def _table5(plan: Plan) -> Iterator[Cell]:
    for row in plan.rows(('DMLoRA', 'LoRA')):
        for task in plan.chosen(plan.suite.subset_tasks):
            for fraction in FRACTIONS:
                fixed = {'train_dataloader.dataset.subset': fraction}
                yield plan.cell(
                    'table5',
                    row,
                    task,
                    column=f'{100 * fraction:.0f} %',
                    fixed=_whole_batches(fixed) if fraction < 1 else {},
                )


def _figure2(plan: Plan) -> Iterator[Cell]:
    for row in plan.rows(FEWSHOT):
        for task in plan.chosen(plan.suite.fewshot_tasks):
            for shots in SHOTS:
                fixed = {'train_dataloader.dataset.num_shots': shots}
                yield plan.cell(
                    'fig2',
                    row,
                    task,
                    column=str(shots),
                    fixed=_whole_batches(fixed),
                    is_fewshot=True,
                )


def _table6(plan: Plan) -> Iterator[Cell]:
    """Times and accuracies; the runs of table 3, as far as it has them."""
    for row in plan.rows(('LoRA', 'RepAdapter', 'DMLoRA-LS')):
        for task in plan.chosen(plan.suite.tasks):
            yield plan.cell('table6', row, task)


def _table7(plan: Plan) -> Iterator[Cell]:
    """Settings of the pruning, each with a search of its own for all other settings."""
    for task in plan.chosen(plan.suite.tasks):
        for column, settings in ABLATION.items():
            yield plan.cell('table7', 'DMLoRA-LS', task, column=column, settings=settings)


def _study(plan: Plan) -> Iterator[Cell]:
    for row in plan.rows([*STUDY]):
        contender = STUDY[row]
        for task in plan.chosen(plan.suite.tasks):
            cell = plan.cell('study', contender.method, task, settings=contender.fixed)
            run = Run(cell.config, cell.settings)
            search = cell.search and replace(
                cell.search,
                space=contender.space(plan.suite.rates, run),
                leaves_out=False,
            )
            yield replace(cell, row=row, search=search)


def _whole_batches(settings: Settings) -> Settings:
    """With few images the last batch, which isn't full, must not be left out."""
    return {**settings, 'train_dataloader.drop_last': False}


TABLES: dict[str, Callable[[Plan], Iterator[Cell]]] = dict(
    table1=_table1,
    table3=_table3,
    table4=_table4,
    table5=_table5,
    table6=_table6,
    table7=_table7,
    fig2=_figure2,
)
STUDIES: dict[str, Callable[[Plan], Iterator[Cell]]] = dict(study=_study)


def cells_of(table: str, plan: Plan) -> list[Cell]:
    """The cells of a table.

    Raises:
        ValueError: If there is no such table, or a task or method that no table has.
    """
    known = {**TABLES, **STUDIES}
    if table not in known:
        raise ValueError(f'there is no table {table!r}: known are {", ".join(known)}.')
    suite = plan.suite
    tasks = {**suite.tasks, **suite.subset_tasks, **suite.fewshot_tasks}
    _check('task', plan.tasks, tasks)
    _check('method', plan.methods, [*METHODS, NOT_PRUNED, *STUDY])
    return [*known[table](plan)]


def _check(kind: str, asked: tuple[str, ...] | None, known: Sequence[str] | dict) -> None:
    for name in asked or ():
        if name not in known:
            raise ValueError(
                f'there is no {kind} {name!r} here: known are {", ".join(known)}.'
            )
