"""The layouts that are looked for."""

from mmdmlora.datasets.checker.layouts import LAYOUTS
from mmdmlora.datasets.tasks import BENCHMARKS


def test_layouts_cover_the_table_of_tasks():
    assert [layout.benchmark for layout in LAYOUTS] == list(BENCHMARKS)
    for layout in LAYOUTS:
        for task in layout.tasks:
            splits = layout.splits(task)
            assert len({split.name for split in splits}) == len(splits)
            assert {s.options['split'] for s in splits} | {'trainval'} >= set(task.splits)
