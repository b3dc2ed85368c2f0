"""Bad values give a ValueError, never another one, and change nothing."""

from __future__ import annotations

import copy
import logging
import math
from types import SimpleNamespace

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st
from mmpretrain.registry import MODELS as STOCK
from torch import nn

from mmdmlora.engine import BranchPruningHook, LearningScalarHook
from mmdmlora.models.layers.mix_lora import MixLoRA
from mmdmlora.models.schedules import to_steps
from mmdmlora.models.targets import find_targets
from mmdmlora.quiet_log import quiet_log
from mmdmlora.registry import MODELS
from tests.test_properties.wrapper_machine import changed, tensors
from tests.tiny import VIT, wrapped

ROWS = 72  # the most of any layer that is adapted here
NO_NUMBERS = st.one_of(
    st.none(),
    st.text(max_size=5),
    st.complex_numbers(),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
)
NO_COUNTS = st.one_of(NO_NUMBERS, st.booleans(), st.integers(max_value=0), st.floats())
NO_RANKS = NO_COUNTS | st.integers(min_value=ROWS + 1)
NO_SCALES = st.one_of(
    NO_NUMBERS,
    st.floats(max_value=0),
    st.floats(max_value=1e-40),
    st.floats(min_value=1e40),
    st.integers(min_value=10**40),
    st.just(math.nan),
)
NO_RATES = st.one_of(
    NO_NUMBERS,
    st.floats(max_value=0, exclude_max=True),
    st.floats(min_value=1),
    st.integers(min_value=1),
    st.just(math.nan),
)
BAD = dict(
    rank=NO_RANKS,
    dim=NO_RANKS,
    groups=NO_COUNTS | st.integers(min_value=9),
    num_branches=NO_COUNTS,
    num_tokens=NO_COUNTS,
    scale=NO_SCALES,
    drop_rate=NO_RATES,
    placement=NO_NUMBERS,
)
OPTIONS = dict(
    DMLoRAModel=('rank', 'num_branches', 'scale', 'drop_rate'),
    LoRAModel=('rank', 'scale', 'drop_rate'),
    RepAdapterModel=('dim', 'groups', 'scale', 'drop_rate'),
    AdapterModel=('dim', 'drop_rate', 'placement'),
    VPTModel=('num_tokens', 'drop_rate'),
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(['type', 'parts', 'rank', 'x']) | st.integers(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=6,
)
EXPRESSIONS = st.text(r'.*+?()[]{}^|\$,-<>=!:#layers019qkvdbPBA', max_size=14)


@st.composite
def bad_options(draw) -> tuple[str, dict]:
    """A method and options of which one is bad, for all layers or in a target."""
    method = draw(st.sampled_from([*OPTIONS]))
    name = draw(st.sampled_from(OPTIONS[method]))
    options = {name: draw(BAD[name])}
    in_target = draw(st.booleans()) and method != 'VPTModel' and name != 'placement'
    if in_target:
        options = dict(targets=[dict(type='attn.qkv', **options)])
    return method, options


@given(bad_options())
def test_bad_options_are_refused(case):
    method, options = case
    config = dict(type=f'mmdmlora.{method}', module=VIT, **options)
    before = repr(config)
    with quiet_log(), pytest.raises(ValueError):
        MODELS.build(config)
    assert repr(config) == before


@given(columns=st.integers(1, 9), rows=st.integers(1, 9))
def test_the_largest_rank_is_the_smaller_side(columns, rows):
    limit = min(columns, rows)
    assert MixLoRA(columns, rows, limit).delta_weight().shape == (rows, columns)
    with pytest.raises(ValueError, match=f'rank={limit + 1} is not in 1..{limit} '):
        MixLoRA(columns, rows, limit + 1)


@pytest.fixture(scope='module')
def vit():
    return STOCK.build(VIT)


def structure(backbone: nn.Module) -> list[tuple[str, type]]:
    return [(name, type(module)) for name, module in backbone.named_modules()]


@given(targets=JSON | st.lists(JSON, max_size=3))
@example(targets=[{'type': 'attn.qkv', 'parts': [['q']]}])
@example(targets=[{'type': 'attn.qkv', 'parts': {'q': 1}}])
@example(targets=[{'type': 'attn.qkv', 1: 2, 'x': 3}])
def test_targets_of_any_form_are_found_or_refused(vit, targets):
    before, given_targets = structure(vit), repr(targets)
    try:
        found = find_targets(vit, targets, ('rank', 'scale'))
    except ValueError:
        pass
    else:
        assert found and {t.name for t in found} <= {name for name, _ in before}
    assert structure(vit) == before and repr(targets) == given_targets


@pytest.mark.filterwarnings('ignore:Possible')
@given(pattern=EXPRESSIONS)
@example(pattern='a{99999999999999999999}')
@example(pattern='(' * 3000)
@example(pattern='(?P<a>.*)(?P<a>.*)')
def test_any_expression_is_matched_or_refused(vit, pattern):
    try:
        found = find_targets(vit, [dict(type=pattern)], ())
    except ValueError as error:
        assert repr(pattern) in str(error)
    else:
        assert all(isinstance(target.layer, nn.Linear) for target in found)


@pytest.fixture(scope='module')
def pruned():
    with quiet_log():
        model = wrapped('DMLoRAModel', rank=2, num_branches=4)
    model.prune_branches(1)
    return model


@given(
    name=st.sampled_from(['num', 'min_branches', 'criterion']),
    counts=NO_COUNTS | st.integers(min_value=4),
    criterion=NO_NUMBERS,
)
def test_bad_pruning_is_refused(pruned, name, counts, criterion):
    before = tensors(pruned.state_dict().items())
    options = {name: criterion if name == 'criterion' else counts}
    with pytest.raises(ValueError):
        pruned.prune_branches(**options)
    assert not changed(before, pruned.state_dict())
    assert pruned.num_branches == 3


@given(value=NO_NUMBERS | st.booleans() | st.floats() | st.integers(max_value=-1))
def test_bad_points_of_a_run_are_refused(value):
    assume(not (isinstance(value, float) and 0 <= value <= 1))
    with pytest.raises(ValueError, match='^here='):
        to_steps(value, 10, 'here')


@given(stages=JSON, begins=JSON | st.lists(JSON, max_size=2))
def test_stages_of_any_form_are_run_or_refused(stages, begins):
    with quiet_log():
        model = wrapped('LoRAModel', rank=1, learn_scale=True)
    runner = SimpleNamespace(
        model=model,
        epoch=0,
        max_epochs=4,
        logger=logging.getLogger('mmdmlora.tests'),
        optim_wrapper=SimpleNamespace(param_groups=[]),
    )
    before = copy.deepcopy((stages, begins))
    try:
        hook = LearningScalarHook(stages, begins)
        hook.before_train(runner)
    except ValueError:
        pass
    else:
        hook.before_train_epoch(runner)
    assert repr((stages, begins)) == repr(before)


@given(
    name=st.sampled_from(['interval', 'begin']),
    value=NO_NUMBERS | st.floats(max_value=0, exclude_max=True) | st.floats(1.1),
)
def test_schedules_out_of_range_are_refused(name, value):
    options = {'interval': 1, name: value}
    with pytest.raises(ValueError, match=name):
        BranchPruningHook(**options).plan.branches_at(5, 10, 4)
