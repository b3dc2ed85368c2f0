"""What the plots show, read back from their axes."""

import numpy as np
import pytest

from mmdmlora.experiments.report.curves import MEAN, curves, times
from mmdmlora.experiments.report.lines import lines_of
from mmdmlora.experiments.report.maps import scales, scatters
from mmdmlora.experiments.report.style import line_styles
from tests.invented_outcomes import (
    FEWSHOT,
    GAINS,
    MINI,
    accuracies,
    dispersions,
    outcome,
    with_scales,
)


def block(outcomes):
    (lines,) = lines_of(outcomes).values()
    return lines


@pytest.mark.parametrize(
    'columns, label',
    [
        (('1', '2', '16'), 'training images of each class'),
        (('n = 4', 'n = 16'), 'number of branches n'),
        (('10 %', '100 %'), 'training images used (%)'),
        (('60 epochs', '300 epochs'), 'epochs of training'),
    ],
)
def test_curves_have_a_panel_a_task_and_one_of_the_mean(columns, label):
    placed = [(column, float(index)) for index, column in enumerate(columns)]
    lines = block(accuracies({'LoRA': 0.0, 'DMLoRA': 1.0}, FEWSHOT, placed))
    (picture,) = curves(lines, ['LoRA', 'DMLoRA'], 'name')
    panels = picture.figure.axes
    assert [axes.get_title() for axes in panels] == [*FEWSHOT, MEAN]
    for axes in panels:
        assert (axes.get_xlabel(), axes.get_ylabel()) == (label, 'test top-1 (%)')
    lora = panels[-1].containers[0].lines[0]
    means = [line.averages().overall.mean for line in lines if line.row == 'LoRA']
    assert list(lora.get_ydata()) == pytest.approx(means)


@pytest.mark.parametrize('columns', [('',), ('S1', 'S2'), ('n = 4',)])
def test_no_curve_without_an_axis(columns):
    lines = block(accuracies({'LoRA': 0.0}, columns=[(c, 0.0) for c in columns]))
    assert curves(lines, ['LoRA'], 'name') == []


def test_a_task_that_is_missing_leaves_a_gap():
    columns = [('1', 0.0), ('2', 1.0)]
    outcomes = accuracies({'LoRA': 0.0}, {'pets': 'f', 'cars': 'f'}, columns)
    lines = block([o for o in outcomes if (o.task, o.column) != ('cars', '2')])
    (picture,) = curves(lines, ['LoRA'], 'name')
    points = {
        axes.get_title(): len(axes.containers[0].lines[0].get_xdata())
        for axes in picture.figure.axes
    }
    assert points == {'pets': 2, 'cars': 1, MEAN: 1}


def test_time_against_accuracy():
    lines = block(accuracies(GAINS))
    (picture,) = times(lines, list(GAINS), 'name')
    (axes,) = picture.figure.axes
    assert len(axes.containers) == len(GAINS)
    assert '(s)' in axes.get_xlabel() and '(%)' in axes.get_ylabel()
    assert times(block(accuracies({'LoRA': 0.0})), ['LoRA'], 'name') == []


def test_scales_of_layers_in_their_order():
    outcomes = with_scales(accuracies({'LoRA': 0.0, 'DMLoRA-LS': 0.0}), num_layers=11)
    lines = block(outcomes)
    (picture,) = scales(lines, 'name')
    axes = picture.figure.axes[0]
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[2] == 'layers.1.attn.qkv.q' and names[-1] == 'layers.10.attn.qkv.v'
    image = axes.images[0].get_array()
    assert image.shape == (22, len(MINI))
    task = list(lines[1].tasks)[3]
    of_task = [o for o in lines[1].outcomes if o.task == task]
    mean = sum(o.details['scales'][names[5]] for o in of_task) / len(of_task)
    assert image[5, 3] == pytest.approx(mean)
    assert picture.figure.axes[1].get_ylabel() == 'scale s (no unit)'


def test_scales_that_nobody_learned_are_not_shown():
    """Nor those that a search has chosen, another one for each task."""
    chosen = [
        outcome(task=task, details={'scales': {'layers.0.q': held, 'layers.1.q': held}})
        for task, held in (('dtd', 10.0), ('kitti', 1.0))
    ]
    assert scales(block(chosen), 'name') == []


def test_scales_that_some_tasks_lack():
    some = [
        outcome(details={'scales': {'layers.0.q': 1.0, 'layers.1.q': 2.0}}),
        outcome(task='kitti', details={'scales': {'layers.0.q': 3.0}}),
    ]
    (picture,) = scales(block(some), 'name')
    assert picture.figure.axes[0].images[0].get_array().shape == (2, 2)


def test_branches_after_tsne():
    lines = block(dispersions())
    (picture,) = scatters(lines, 'name')
    panels = {axes.get_title(): axes for axes in picture.figure.axes}
    assert set(panels) == {
        f'{task}, n = {n}' for task in ('caltech101', 'dmlab') for n in (4, 8, 16)
    }
    axes = panels['dmlab, n = 8']
    assert len(axes.collections) == 8
    first = next(o for o in lines[1].outcomes if o.task == 'dmlab' and o.seed == 0)
    points = [tuple(p[:2]) for p in first.details['coordinates'] if p[2] == 3]
    np.testing.assert_allclose(axes.collections[3].get_offsets(), points)
    assert scatters(block([outcome()]), 'name') == []


def test_a_method_looks_the_same_in_every_table():
    styles = line_styles(GAINS)
    assert styles['DMLoRA']['color'] == styles['DMLoRA, not pruned']['color']
    looks = {(s['color'], s['marker'], s['linestyle']) for s in styles.values()}
    assert len(looks) == len(GAINS)
    assert styles['LoRA']['color'] == line_styles(['LoRA', 'Full'])['LoRA']['color']
