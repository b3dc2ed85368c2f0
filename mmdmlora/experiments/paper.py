"""The numbers that the paper's supplement reports, by table, backbone, row and column.

Rows and columns are those that the supplement prints, in this package's names: methods as
in ``reproduce``, VTAB's groups in full, tasks by their short names. Fig. 2 is only drawn
there, its numbers aren't given.

Source: DMLoRA (ECCV 2024), supplement, Tables 1, 3, 4, 5, 6 and 7 and Sec. 8.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mmdmlora.datasets.tasks import FEWSHOT_TASKS, FGVC_TASKS, VTAB_TASKS

AVERAGE = 'Avg'
FGVC_FRACTIONS = ('10 %', '50 %', '80 %', '100 %')
COSTS = ('seconds per epoch', 'seconds', 'accuracy', 'memory (GB)')

Numbers = dict[tuple[str, str, str], float]

_GROUPS = (AVERAGE, 'Natural', 'Specialized', 'Structured')
_DISPERSION_TASKS = (
    'caltech101',
    'flowers102',
    'svhn',
    'camelyon',
    'eurosat',
    'resisc45',
    'clevr-dist',
    'dmlab',
    'smallnorb-ele',
)


def _rows(
    backbone: str, columns: Sequence[str], rows: Mapping[str, Sequence[float | None]]
) -> Numbers:
    """A block of a table: the numbers of each row stand in the order of the columns."""
    return {
        (backbone, row, column): number
        for row, numbers in rows.items()
        for column, number in zip(columns, numbers, strict=True)
        if number is not None
    }


PAPER: dict[str, Numbers] = {
    # Range after t-SNE, summed over the two dimensions.
    'table1': _rows(
        'ViT-B/16',
        _DISPERSION_TASKS,
        {
            'n = 4': (210.7, 166.1, 302.4, 813.4, 104.4, 198.6, 503.9, 755.8, 619.2),
            'n = 8': (379.8, 249.8, 446.7, 1141.2, 160.8, 277.7, 579.7, 1072.0, 872.5),
            'n = 16': (516.2, 323.8, 529.4, 1440.6, 188.3, 379.6, 681.9, 1127.5, 939.2),
        },
    ),
    # Top-1 accuracy in per cent on VTAB-1k. 'VPT' there is the deep one.
    'table3': {
        **_rows(
            'ConvNeXt-B',
            _GROUPS,
            {
                'Full': (74.0, 78.0, 83.7, 60.4),
                'Linear': (63.6, 74.5, 81.5, 34.8),
                'VPT-deep': (68.7, 78.5, 83.0, 44.6),
                'LoRA': (72.1, 79.2, 83.4, 53.8),
                'RepAdapter': (79.0, 83.5, 86.7, 66.8),
                'DMLoRA-LS': (79.3, 84.4, 88.0, 65.4),
            },
        ),
        **_rows(
            'Swin-B',
            _GROUPS,
            {
                'Full': (75.0, 79.2, 86.2, 59.7),
                'Linear': (62.6, 73.5, 80.8, 33.5),
                'VPT-deep': (71.6, 76.8, 84.5, 53.4),
                'RepAdapter': (77.4, 82.7, 87.5, 62.0),
                'DMLoRA-LS': (77.8, 83.0, 87.8, 62.6),
            },
        ),
        **_rows(
            'ViT-B/16',
            _GROUPS,
            {
                'Full': (68.9, 75.9, 83.4, 47.6),
                'Linear': (57.6, 68.9, 77.2, 26.8),
                'VPT-deep': (72.0, 78.5, 82.4, 55.0),
                'RepAdapter': (76.0, 81.6, 85.4, 61.2),
                'DMLoRA-LS': (77.0, 82.5, 86.3, 62.1),
            },
        ),
    },
    # The same with ViT-B/16, pre-trained without labels.
    'table4': {
        **_rows(
            'MAE',
            _GROUPS,
            {
                'Full': (64.3, 59.3, 79.7, 53.8),
                'Linear': (32.1, 18.9, 53.7, 23.7),
                'BitFit': (59.3, 54.6, 75.7, 47.7),
                'Adapter': (56.4, 54.9, 75.2, 39.0),
                'VPT-shallow': (45.7, 40.0, 69.7, 27.5),
                'VPT-deep': (41.1, 36.0, 60.6, 26.6),
                'DMLoRA-LS': (66.9, 56.6, 82.6, 61.4),
            },
        ),
        **_rows(
            'MoCo',
            _GROUPS,
            {
                'Full': (69.6, 72.0, 84.7, 52.0),
                'Linear': (59.6, 67.5, 81.1, 30.3),
                'BitFit': (69.2, 72.9, 81.1, 53.4),
                'Adapter': (68.2, 74.2, 82.7, 47.7),
                'VPT-shallow': (62.4, 67.3, 82.3, 37.6),
                'VPT-deep': (65.2, 70.3, 83.0, 42.4),
                'DMLoRA-LS': (75.0, 74.9, 86.2, 64.0),
            },
        ),
    },
    # Mean top-1 accuracy in per cent over the five sets of FGVC.
    'table5': _rows(
        'ViT-B/16',
        FGVC_FRACTIONS,
        {
            'DMLoRA': (72.1, 88.0, 90.0, 90.7),
            'LoRA': (68.9, 87.2, 89.4, 90.2),
        },
    ),
    # Means over VTAB-1k on one RTX 4090, batch 64; 'seconds' up to the best result.
    'table6': _rows(
        'ViT-B/16',
        COSTS,
        {
            'LoRA': (3.14, 919.7, 74.5, None),
            'RepAdapter': (2.94, 1318.8, 75.4, None),
            'DMLoRA-LS': (3.20, 1161.9, 77.0, 12.33),
        },
    ),
    'table7': _rows(
        'ViT-B/16',
        ('Natural', 'Specialized', 'Structured', AVERAGE),
        {
            'S1': (82.0, 86.2, 60.9, 76.4),
            'S2': (81.9, 86.1, 60.8, 76.3),
            'S3': (80.5, 85.8, 61.7, 76.0),
            'Optimal': (82.5, 86.3, 62.0, 77.0),
        },
    ),
}

# The supplement's own names, where this package has others.
_PRINTED = {'VPT': 'VPT-deep', 'Full Finetune': 'Full', 'MoCo v3': 'MoCo'}

_TASKS = dict(table3=VTAB_TASKS, table4=VTAB_TASKS, table6=VTAB_TASKS, table7=VTAB_TASKS)
_TASKS |= dict(table5=FGVC_TASKS, fig2=FEWSHOT_TASKS)


def paper_number(table: str, backbone: str, row: str, column: str) -> float | None:
    """A number of the paper, or None where it gives none.

    Args:
        table (str): ``table1``, ``table3``, ... ``table7``.
        backbone (str): ``ViT-B/16``, ``Swin-B``, ``ConvNeXt-B``, and in Table 4 the
            pre-training, ``MAE`` or ``MoCo``.
        row (str): The method; in Table 1 ``n = 8``, in Table 7 ``S1``.
        column (str): A group of VTAB or ``Avg``; in Table 1 a task, in Table 5 a
            fraction (``10 %``), in Table 6 one of :data:`COSTS`.
    """
    key = (_PRINTED.get(backbone, backbone), _PRINTED.get(row, row), column)
    return PAPER.get(table, {}).get(key)


def paper_tasks(table: str, group: str = AVERAGE) -> set[str]:
    """The tasks that a number of the paper is the mean of.

    Args:
        table (str): The table; one that has no means gives no tasks.
        group (str): A group of tasks. Defaults to all of them.
    """
    tasks = _TASKS.get(table, ())
    return {task.name for task in tasks if group in (AVERAGE, task.group)}
