"""One form for the description of every hook, and tables that tell the truth."""

import inspect
import re

import pytest

from mmdmlora.engine import BranchPruningHook, hooks

HOOKS = [getattr(hooks, name) for name in hooks.__all__]


@pytest.mark.parametrize('hook', HOOKS, ids=lambda hook: hook.__name__)
def test_form(hook):
    text = inspect.getdoc(hook)
    parts = re.findall(r'^(?:- )?(When|Touches|State|Priority|Args|Raises):', text, re.M)
    takes_arguments = '__init__' in vars(hook) and len(inspect.signature(hook).parameters)
    expected = ['When', 'Touches', 'State', 'Priority', *['Args'] * bool(takes_arguments)]
    assert parts[: len(expected)] == expected
    assert parts[len(expected) :] in ([], ['Raises'])
    assert re.search(r'^- Priority: (\w+)', text, re.M)[1] == hook.priority
    file = inspect.getsourcefile(hook)
    words = re.findall('[A-Z][a-z]+', hook.__name__)
    assert file.endswith(f'/{"_".join(words).lower()}.py')


def test_every_callback_is_described():
    for hook in HOOKS:
        when = inspect.getdoc(hook).split('- When:')[1].split('- Touches:')[0]
        for name, item in vars(hook).items():
            if inspect.isfunction(item) and name.startswith(('before_', 'after_')):
                assert f'``{name}``' in when or 'as the original' in when, name


def test_examples_of_branch_pruning():
    rows = re.findall(r'^(?: *[\d.]+){6}.*$', inspect.getdoc(BranchPruningHook), re.M)
    assert len(rows) == 6
    for row in rows:
        interval, num_pruned, begin, min_branches, length, *expected = (
            float(text) if '.' in text else int(text) for text in row.split()
        )
        schedule = BranchPruningHook(interval, num_pruned, min_branches, begin=begin).plan
        schedule.check(length, 8)
        got = [schedule.branches_at(step, length, 8) for step in range(length)]
        assert got == expected
