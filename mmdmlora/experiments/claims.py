"""The paper's claims, and what the outcomes say about each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from .outcome import Outcome, accuracy
from .statistics import SIGNIFICANT, Comparison, compare

Value = Callable[[Outcome], float | None]


class Claim(NamedTuple):
    """A claim and its verdict.

    Attributes:
        sentence: The claim, with the table and the backbone it was looked at on.
        verdict: 'shows here', "doesn't show here" or "can't be told", with a reason.
        numbers: The comparison that gave the verdict; None where there is none.
    """

    sentence: str
    verdict: str
    numbers: Comparison | None


@dataclass(frozen=True)
class Side:
    """The outcomes that one side of a claim speaks of; None leaves a field open."""

    row: str | None = None
    column: str | None = None

    def __str__(self) -> str:
        return ', '.join(filter(None, (self.row, self.column)))

    def has(self, outcome: Outcome) -> bool:
        """Whether an outcome is one of them."""
        return self.row in (None, outcome.row) and self.column in (None, outcome.column)


@dataclass(frozen=True)
class Question:
    """A claim of the paper: the first side has the larger value.

    Attributes:
        sentence: The claim.
        first: The side that should be ahead.
        second: The side that should be behind.
        table: The table that it is about; None for every one with both sides.
        group: The group of tasks that it is about; None for all.
        value: What is compared.
    """

    sentence: str
    first: Side
    second: Side
    table: str | None = None
    group: str | None = None
    value: Value = accuracy

    def concerns(self, outcome: Outcome) -> bool:
        """Whether an outcome belongs to the claim's table and group and has a value."""
        return (
            self.table in (None, outcome.table)
            and self.group in (None, outcome.group)
            and self.value(outcome) is not None
        )


def check_claims(outcomes: Iterable[Outcome]) -> list[Claim]:
    """Compare the outcomes with what the paper says.

    A claim is looked at on each table and backbone that has runs of both sides, over the
    pairs of the same task, column and seed.

    Returns:
        list[Claim]: At least one for each claim; one without runs says what is missing.
    """
    outcomes = list(outcomes)
    questions = [*_QUESTIONS, *_dispersion_questions(outcomes)]
    return [claim for question in questions for claim in _answers(question, outcomes)]


def verdict(comparison: Comparison) -> str:
    """A comparison in plain words, where the first side should have the larger value."""
    if not comparison.can_be_significant:
        pairs = f'{comparison.pairs} pair{"s" * (comparison.pairs > 1)}'
        return (
            f"can't be told: with {pairs} of task and seed no difference could have p "
            f'below {SIGNIFICANT}'
        )
    if comparison.is_significant:
        opposite = "doesn't show here: the opposite does"
        return 'shows here' if comparison.mean > 0 else opposite
    if comparison.mean > 0:
        return (
            "can't be told: chance alone may give a difference as large "
            f'(p >= {SIGNIFICANT})'
        )
    return "doesn't show here: the mean difference isn't above zero"


def dispersion_measure(name: str) -> Value:
    """What reads a measure of :class:`~mmdmlora.experiments.dispersion.Dispersion`."""
    return lambda outcome: outcome.details.get('dispersion', {}).get(name)


def range_over_null(outcome: Outcome) -> float | None:
    """The t-SNE range of the branches as a multiple of that of the null."""
    measures = outcome.details.get('dispersion', {})
    measured, null = (measures.get(name) for name in ('t-SNE range', 'null t-SNE range'))
    return measured / null if measured is not None and null else None


_QUESTIONS = (
    Question('LoRA is better than a linear probe', Side('LoRA'), Side('Linear')),
    Question('DMLoRA is better than LoRA', Side('DMLoRA'), Side('LoRA')),
    Question('DMLoRA-LS is better than LoRA', Side('DMLoRA-LS'), Side('LoRA')),
    Question(
        'DMLoRA with the learning scalar (LS) is better than without',
        Side('DMLoRA-LS'),
        Side('DMLoRA'),
    ),
    Question(
        'DMLoRA with branch pruning is better than without',
        Side('DMLoRA'),
        Side('DMLoRA, not pruned'),
    ),
    *(
        Question(
            f'On {group} tasks slow pruning (S1) is better than fast (S3)',
            Side(column='S1'),
            Side(column='S3'),
            table='table7',
            group=group,
        )
        for group in ('Natural', 'Specialized')
    ),
    Question(
        'On Structured tasks fast pruning (S3) is better than slow (S1)',
        Side(column='S3'),
        Side(column='S1'),
        table='table7',
        group='Structured',
    ),
    Question(
        '8 branches (S1) are better than 6 (S2)',
        Side(column='S1'),
        Side(column='S2'),
        table='table7',
    ),
)


def _dispersion_questions(outcomes: Sequence[Outcome]) -> Iterator[Question]:
    """Dispersion grows with n: each n against the one below, alone and over the null."""
    matches = (
        re.fullmatch(r'n = (\d+)', o.column) for o in outcomes if o.table == 'table1'
    )
    numbers = sorted({int(match[1]) for match in matches if match})
    if len(numbers) < 2:
        numbers = [4, 8, 16]
    for few, many in pairwise(f'n = {number}' for number in numbers):
        for what, value in (
            ('The t-SNE range of the branches', dispersion_measure('t-SNE range')),
            ('The t-SNE range as a multiple of the null', range_over_null),
        ):
            yield Question(
                f'{what} is larger with {many} than with {few}',
                Side(column=many),
                Side(column=few),
                table='table1',
                value=value,
            )


def _answers(question: Question, outcomes: Sequence[Outcome]) -> Iterator[Claim]:
    concerned = [o for o in outcomes if question.concerns(o)]
    sides = question.first, question.second
    places = dict.fromkeys((o.table, o.backbone) for o in concerned)
    answered = False
    for table, backbone in places:
        here = [o for o in concerned if (o.table, o.backbone) == (table, backbone)]
        comparison = compare(*(_values(question, side, here) for side in sides))
        if comparison is not None:
            answered = True
            sentence = f'{question.sentence} ({table}, {backbone}).'
            yield Claim(sentence, verdict(comparison), comparison)
    if answered:
        return
    missing = [str(s) for s in sides if not any(s.has(o) for o in concerned)]
    where = f' on {question.group} tasks' if question.group else ''
    where += f' in {question.table}' if question.table else ''
    reason = (
        f'no finished run of {" and of ".join(missing)}{where}'
        if missing
        else f'{" and ".join(map(str, sides))} have no task and seed in common'
    )
    yield Claim(f'{question.sentence}.', f"can't be told: {reason}", None)


def _values(
    question: Question, side: Side, outcomes: Iterable[Outcome]
) -> dict[tuple[str, tuple[str, str, int]], float]:
    """Values by task and by what else makes a pair: the open fields and the seed."""
    values = {}
    for outcome in outcomes:
        value = question.value(outcome)
        if side.has(outcome) and value is not None:
            row = outcome.row if side.row is None else ''
            column = outcome.column if side.column is None else ''
            values[outcome.task, (row, column, outcome.seed)] = value
    return values
