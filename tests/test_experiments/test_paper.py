"""The paper's numbers as data."""

import pytest

from mmdmlora.experiments.paper import PAPER, paper_number, paper_tasks


@pytest.mark.parametrize(
    'place, number',
    [
        (('table1', 'ViT-B/16', 'n = 8', 'camelyon'), 1141.2),
        (('table1', 'ViT-B/16', 'n = 16', 'smallnorb-ele'), 939.2),
        (('table3', 'ConvNeXt-B', 'RepAdapter', 'Structured'), 66.8),
        (('table3', 'Swin-B', 'VPT-deep', 'Natural'), 76.8),
        (('table3', 'Swin-B', 'VPT', 'Natural'), 76.8),
        (('table3', 'ViT-B/16', 'DMLoRA-LS', 'Avg'), 77.0),
        (('table4', 'MAE', 'Full Finetune', 'Avg'), 64.3),
        (('table4', 'MoCo v3', 'DMLoRA-LS', 'Structured'), 64.0),
        (('table5', 'ViT-B/16', 'LoRA', '10 %'), 68.9),
        (('table6', 'ViT-B/16', 'DMLoRA-LS', 'memory (GB)'), 12.33),
        (('table7', 'ViT-B/16', 'S3', 'Structured'), 61.7),
        (('table3', 'Swin-B', 'LoRA', 'Avg'), None),
        (('table6', 'ViT-B/16', 'LoRA', 'memory (GB)'), None),
        (('fig2', 'ViT-B/16', 'LoRA', '4'), None),
        (('table3', 'ViT-Ti/4', 'LoRA', 'Avg'), None),
    ],
)
def test_a_number_is_found_by_its_place(place, number):
    assert paper_number(*place) == number


def test_every_number_of_the_tables_is_there():
    counts = {table: len(numbers) for table, numbers in PAPER.items()}
    expected = dict(table1=27, table3=16 * 4, table4=14 * 4, table5=8, table6=10)
    assert counts == expected | dict(table7=16)


def test_averages_are_the_means_of_the_groups():
    """A slip in a number would show; the paper rounds all four to a tenth."""
    for table in ('table3', 'table4', 'table7'):
        for (backbone, row, column), average in PAPER[table].items():
            if column == 'Avg':
                groups = [
                    PAPER[table][backbone, row, group]
                    for group in ('Natural', 'Specialized', 'Structured')
                ]
                assert average == pytest.approx(sum(groups) / 3, abs=0.1)


def test_the_tasks_behind_a_mean():
    assert len(paper_tasks('table3')) == 19
    assert len(paper_tasks('table7', 'Specialized')) == 4
    assert paper_tasks('table5') == {'cub', 'nabirds', 'flowers', 'dogs', 'cars'}
    assert paper_tasks('study') == set()
