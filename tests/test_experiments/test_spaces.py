"""What is tried follows from the seed and the results."""

import pytest

from mmdmlora.experiments.runs import Run
from mmdmlora.experiments.spaces import Sampler, Space, find_space, read_space

LR = 'optim_wrapper.optimizer.lr'
LARGE = Space({'a': [*range(6)], 'b': [*range(6)]})


def test_the_papers_grid():
    space = read_space(find_space('paper'))
    assert len(space) == 3 * 3 * 2 * 3 * 4
    assert space.values[LR] == [2e-4, 5e-4, 1e-3]
    assert space.values['train_cfg.max_epochs'] == [300, 600, 900]
    assert len(space.of(Run('dmlora/vit-tiny_digits'))) == len(space)
    assert len(space.of(Run('lora/vit-tiny_digits'))) == 3 * 3 * 2
    assert len(space.of(Run('linear/vit-tiny_digits'))) == 3 * 3


def test_a_small_space_is_tried_whole():
    space = Space({'a': [1, 2], 'b': [3, 4]})
    expected = [dict(a=a, b=b) for a in (1, 2) for b in (3, 4)]
    assert Sampler(space, 4).proposals({}) == expected
    assert Sampler(space, 9).trials == 4


@pytest.mark.parametrize('seed', range(5))
def test_no_combination_is_tried_twice(seed):
    results = dict.fromkeys(range(24), 0.0)
    tried = Sampler(LARGE, 24, seed).proposals(results)
    assert len(tried) == len({tuple(t.items()) for t in tried}) == 24


def test_generations_wait_for_results_and_depend_on_nothing_else():
    sampler = Sampler(LARGE, 30)
    first = sampler.proposals({})
    assert len(first) == 12
    assert sampler.proposals(dict.fromkeys(range(11), 1.0)) == first
    results = {n: float(-abs(first[n]['a'] - 3)) for n in range(12)}
    second = sampler.proposals(results)
    assert second[:12] == first and len(second) == 24
    backwards = dict(reversed(results.items()))
    assert Sampler(LARGE, 30).proposals(backwards) == second


def test_later_generations_learn():
    def accuracy(settings):
        return 100.0 - 10 * abs(settings['a'] - 3) - 10 * abs(settings['b'] - 2)

    gains = []
    for seed in range(8):
        sampler = Sampler(LARGE, 24, seed)
        first = sampler.proposals({})
        later = sampler.proposals({n: accuracy(t) for n, t in enumerate(first)})[12:]
        gains.append(sum(map(accuracy, later)) / 12 - sum(map(accuracy, first)) / 12)
    assert sum(gains) / len(gains) > 3


@pytest.mark.parametrize('values', [[], 3, 'abc', None])
def test_what_is_no_list_is_refused(values):
    with pytest.raises(ValueError, match='a list of values is expected'):
        Space({'a': values})


def test_files_without_a_space(tmp_path):
    with pytest.raises(ValueError, match='there is no space'):
        read_space(tmp_path / 'x.py')
    file = tmp_path / 'x.py'
    file.write_text('values = [1]')
    with pytest.raises(ValueError, match='has no space'):
        read_space(file)


def test_ends_of_a_space():
    space = Space({'rate': [3, 1, 2], 'two': [1, 2], 'words': ['a', 'b', 'c']})
    chosen = dict(two=1, words='a')
    assert space.ends({'rate': 3, **chosen}) == ('rate, highest',)
    assert space.ends({'rate': 1, **chosen}) == ('rate, lowest',)
    assert space.ends({'rate': 2, **chosen}) == space.ends(chosen) == ()
