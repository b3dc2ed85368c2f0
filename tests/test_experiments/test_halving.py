"""Successive halving, with trainings replaced by a formula."""

import pytest

from mmdmlora.experiments.runs import Run
from mmdmlora.experiments.search import Search, run_searches
from mmdmlora.experiments.spaces import Space

LR, DECAY = 'optim_wrapper.optimizer.lr', 'optim_wrapper.optimizer.weight_decay'
SPACE = Space({LR: [1e-3, 2e-3, 3e-3, 4e-3, 5e-3, 6e-3], DECAY: [0.0, 0.1]})
SEARCH = Search('lora/vit-tiny_digits', SPACE, 12)
SHORT, FULL = 'a quarter of the batches', 'all batches'


class Trainings:
    """Gives accuracies, and remembers what was asked for."""

    def __init__(self, accuracy):
        self.accuracy = accuracy
        self.runs = []

    def __call__(self, runs, part):
        self.runs += runs
        accuracies = map(self.accuracy, runs)
        return [None if a is None else dict(accuracy=a) for a in accuracies]


def extent(run: Run) -> str:
    loader = run.resolved()['train_dataloader']
    sampler = loader.get('batch_sampler')
    if sampler is None:
        return FULL
    assert sampler == dict(
        type='mmdmlora.PartialEpochBatchSampler', share=0.25, drop_last=True
    )
    assert not loader['drop_last']
    return SHORT


def rate(run: Run) -> float:
    return 1000 * run.settings[LR] - 10 * run.settings.get(DECAY, 0.0)


def test_the_best_third_is_trained_in_full():
    trainings = Trainings(rate)
    choice = run_searches([SEARCH], trainings)[SEARCH.key]
    assert [extent(run) for run in trainings.runs] == [SHORT] * 12 + [FULL] * 4
    assert {run.max_epochs for run in trainings.runs} == {60}
    assert [rate(r) for r in trainings.runs[12:]] == [6, 5, 5, 4]
    assert choice.best.settings == {LR: 6e-3, DECAY: 0.0}
    assert [t.is_whole for t in choice.trials].count(True) == 4
    assert all(run.part == 'search' and run.seed == 0 for run in trainings.runs)


def test_a_short_training_is_never_chosen_whatever_its_accuracy():
    def accuracy(run):  # better in a short training than in a full one
        return rate(run) + (50 if extent(run) == SHORT else 0)

    choice = run_searches([SEARCH], Trainings(accuracy))[SEARCH.key]
    assert choice.best.settings == {LR: 6e-3, DECAY: 0.0}
    assert choice.best.accuracy == 6


def test_ties_go_to_the_earlier_trial():
    choice = run_searches([SEARCH], Trainings(lambda run: 1.0))[SEARCH.key]
    assert choice.best is choice.trials[0]
    assert choice.best.settings == {LR: 1e-3, DECAY: 0.0}


def test_failures_lose():
    def accuracy(run):
        return None if run.settings[LR] > 3e-3 else rate(run)

    choice = run_searches([SEARCH], Trainings(accuracy))[SEARCH.key]
    assert choice.best.settings == {LR: 3e-3, DECAY: 0.0}


def test_where_all_fail_nothing_is_trained_in_full():
    trainings = Trainings(lambda run: None)
    choice = run_searches([SEARCH], trainings)[SEARCH.key]
    assert choice.best is None and len(choice.trials) == 12
    assert [extent(run) for run in trainings.runs] == [SHORT] * 12


def test_a_failed_short_training_is_not_followed_by_a_full_one():
    def accuracy(run):
        return rate(run) if run.settings[LR] == 1e-3 else None

    trainings = Trainings(accuracy)
    run_searches([SEARCH], trainings)
    assert [extent(run) for run in trainings.runs] == [SHORT] * 12 + [FULL] * 2


def test_without_halving_all_are_trained_in_full():
    trainings = Trainings(rate)
    search = Search('lora/vit-tiny_digits', SPACE, 12, halving=False)
    choice = run_searches([search], trainings)[search.key]
    assert [extent(run) for run in trainings.runs] == [FULL] * 12
    assert all(trial.is_whole for trial in choice.trials)


def test_a_full_training_that_failed_is_no_short_one():
    search = Search('lora/vit-tiny_digits', SPACE, 12, halving=False)
    choice = run_searches([search], Trainings(lambda run: None))[search.key]
    assert choice.best is None
    assert all(trial.is_whole and trial.has_failed for trial in choice.trials)


def test_equal_searches_are_run_once_and_others_side_by_side():
    trainings = Trainings(rate)
    same = Search('configs/lora/vit-tiny_digits.py', SPACE, 12)
    other = Search('lora/vit-tiny_digits', SPACE, 12, {'train_cfg.max_epochs': 20})
    choices = run_searches([SEARCH, same, other], trainings)
    assert len(choices) == 2 and len(trainings.runs) == 32
    assert [extent(run) for run in trainings.runs] == [SHORT] * 24 + [FULL] * 8


@pytest.mark.parametrize('trials', [1, 2])
def test_few_trials(trials):
    search = Search('lora/vit-tiny_digits', Space({LR: [1e-3, 2e-3]}), trials)
    choice = run_searches([search], Trainings(rate))[search.key]
    assert len(choice.trials) == trials and choice.best.is_whole


def test_a_batch_sampler_is_not_replaced():
    fixed = {'train_dataloader.batch_sampler': dict(type='BatchSampler', drop_last=True)}
    search = Search('lora/vit-tiny_digits', SPACE, 12, fixed)
    with pytest.raises(ValueError, match='use --no-halving'):
        run_searches([search], Trainings(rate))
