"""What outcomes say about the paper's claims."""

import pytest

from mmdmlora.experiments.claims import Claim, check_claims, verdict
from mmdmlora.experiments.statistics import Comparison
from tests.invented_outcomes import GAINS, accuracies, dispersions, outcome


def find(claims: list[Claim], *words: str) -> Claim:
    (claim,) = (c for c in claims if all(word in c.sentence for word in words))
    return claim


def test_verdicts_of_a_table():
    claims = check_claims(accuracies(GAINS))
    expected = {
        'LoRA is better than a linear': 'shows here',
        'DMLoRA is better than LoRA': "doesn't show here: the opposite does",
        'DMLoRA-LS is better than LoRA': 'shows here',
        'learning scalar': 'shows here',
        'branch pruning': 'shows here',
    }
    for words, said in expected.items():
        claim = find(claims, words, '(table3, ViT-Ti/4 (embedded)).')
        assert claim.verdict == said
        assert claim.numbers.pairs == 15 and claim.numbers.tasks == 5
    assert find(claims, 'linear').numbers.mean == pytest.approx(11, abs=0.5)


@pytest.mark.parametrize(
    'mean, p, pairs, said',
    [
        (1.0, 0.03, 6, 'shows here'),
        (-1.0, 0.03, 6, "doesn't show here: the opposite does"),
        (0.1, 0.4, 15, "can't be told: chance alone"),
        (-0.1, 0.4, 15, "doesn't show here: the mean difference isn't above zero"),
        (9.0, 0.0625, 5, "can't be told: with 5 pairs of task and seed"),
        (-9.0, 1.0, 1, "can't be told: with 1 pair of"),
    ],
)
def test_verdicts_in_words(mean, p, pairs, said):
    assert verdict(Comparison(mean, 1.0, p, pairs, 2, 1)).startswith(said)


def test_slow_and_fast_by_group():
    tasks = {'dtd': 'Natural', 'eurosat': 'Specialized', 'kitti': 'Structured'}
    columns = [('S1', 2.0), ('S2', 0.0), ('S3', 0.0)]
    claims = check_claims(
        accuracies({'DMLoRA-LS': 0.0}, tasks, columns, range(8), table='table7')
    )
    assert find(claims, 'On Natural tasks slow').verdict == 'shows here'
    assert find(claims, 'On Specialized tasks slow').verdict == 'shows here'
    assert find(claims, 'On Structured tasks fast').verdict.startswith("doesn't")
    claim = find(claims, '8 branches')
    assert claim.verdict == 'shows here' and claim.numbers.pairs == 24


def test_other_tables_settings_are_no_evidence():
    columns = [('S1', 2.0), ('S3', 0.0)]
    claims = check_claims(accuracies({'DMLoRA-LS': 0.0}, columns=columns, table='study'))
    claim = find(claims, 'On Structured tasks')
    missing = 'no finished run of S3 and of S1 on Structured tasks in table7'
    assert claim.verdict == f"can't be told: {missing}"
    assert claim.numbers is None


def test_a_dispersion_that_grows_as_its_null_does():
    """The paper's figure grows; beside the null nothing is left of it."""
    claims = check_claims(dispersions())
    for step in ('n = 8 than with n = 4', 'n = 16 than with n = 8'):
        assert find(claims, 'The t-SNE range of', step).verdict == 'shows here'
        assert find(claims, 'multiple', step).verdict.startswith("doesn't show here")


def test_what_is_missing_is_said():
    claims = check_claims([])
    assert len(claims) == 13
    for claim in claims:
        assert claim.verdict.startswith("can't be told: no finished run of ")
    only_lora = check_claims(accuracies({'LoRA': 0.0}))
    reason = find(only_lora, 'linear').verdict
    assert reason == "can't be told: no finished run of Linear"


def test_rows_without_a_common_seed():
    outcomes = [outcome(row='LoRA', seed=0), outcome(row='Linear', seed=1)]
    claim = find(check_claims(outcomes), 'linear')
    assert claim.verdict.endswith('LoRA and Linear have no task and seed in common')


def test_pairs_are_of_the_same_column_and_backbone():
    fractions = [('10 %', -30.0), ('100 %', 0.0)]
    outcomes = [
        *accuracies({'LoRA': 0.0, 'DMLoRA': 1.0}, columns=fractions, table='table5'),
        *accuracies({'DMLoRA': 50.0}, backbone='Swin-B', table='table5'),
    ]
    claim = find(check_claims(outcomes), 'DMLoRA is better than LoRA')
    assert claim.numbers.pairs == 30
    assert claim.numbers.mean == pytest.approx(1, abs=0.5)
    assert claim.numbers.deviation < 2
