"""Of several state dicts in a file the right one is taken, or the file is refused."""

import copy
from unittest import mock

import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.hooks import EMAHook
from mmengine.runner import Runner

from mmdmlora.models.convert import convert_backbone
from mmdmlora.models.convert.candidates import preferred_prefix, read_preferred
from mmdmlora.models.pretrained import load_init_cfg
from mmdmlora.registry import MODELS
from tests.peft_runner import config
from tests.tiny import VIT


@pytest.fixture(scope='module')
def state():
    torch.manual_seed(7)
    state = MODELS.build(copy.deepcopy(VIT)).state_dict()
    return {k: torch.randn(v.shape) for k, v in state.items()}


def off_by(state, amount, prefix=''):
    """The same weights, each one larger by an amount."""
    return {prefix + k: v + amount for k, v in state.items()}


def load(path, content, **settings):
    """What a backbone's ``cls_token`` is after loading."""
    torch.save(content, path)
    backbone = MODELS.build(copy.deepcopy(VIT))
    init_cfg = ConfigDict(type='Pretrained', checkpoint=str(path), **settings)
    load_init_cfg(backbone, init_cfg)
    return backbone.state_dict()['cls_token']


MMENGINE = dict(mmengine_version='0.10.7')


@pytest.mark.parametrize(
    'preferred, other, more',
    [
        ('state_dict_ema', 'state_dict', {}),
        ('model_ema', 'model', {}),
        ('ema', 'model', {}),
        ('params_ema', 'params', {}),
        ('ema_state_dict', 'state_dict', {}),
        ('state_dict', 'ema_state_dict', dict(meta=MMENGINE)),
        ('teacher', 'student', dict(epoch=3)),
        ('target_encoder', 'encoder', {}),
        ('state_dict', 'model', {}),
        ('model', 'teacher', {}),
        ('weights_of_mine', 'student', {}),
    ],
)
def test_the_preferred_one_is_taken_in_any_order(tmp_path, state, preferred, other, more):
    good, raw = off_by(state, 0), off_by(state, 1)
    for content in ({preferred: good, other: raw}, {other: raw, preferred: good}):
        taken = load(tmp_path / 'a.pth', content | more)
        assert torch.equal(taken, state['cls_token'])
    chosen = load(tmp_path / 'a.pth', content | more, key=other)
    assert torch.equal(chosen, state['cls_token'] + 1)
    converted = convert_backbone(content | more)[1]
    assert torch.equal(converted['cls_token'], state['cls_token'])
    assert torch.equal(
        convert_backbone(content | more, key=other)[1]['cls_token'],
        state['cls_token'] + 1,
    )


@pytest.mark.parametrize(
    'preferred, other',
    [
        ('teacher.backbone.', 'student.backbone.'),
        ('module.base_encoder.', 'module.momentum_encoder.'),
        ('encoder_q.', 'encoder_k.'),
        ('backbone.', 'momentum_encoder.module.0.'),
        ('backbone.', 'teacher.'),
        ('model_ema.', 'model.'),
        ('', 'copy.'),
    ],
)
def test_the_preferred_prefix(tmp_path, state, preferred, other):
    both = off_by(state, 1, other) | off_by(state, 0, preferred)
    taken = load(tmp_path / 'a.pth', dict(state_dict=both))
    assert torch.equal(taken, state['cls_token'])
    chosen = load(tmp_path / 'a.pth', dict(state_dict=both), prefix=other)
    assert torch.equal(chosen, state['cls_token'] + 1)


@pytest.mark.parametrize(
    'prefix',
    [
        *('_orig_mod.', 'model.', 'encoder.', 'student.', 'module._orig_mod.'),
        *('module.backbone.', '_orig_mod.module.', 'net.trunk.visual.'),
    ],
)
def test_any_prefix_is_found(tmp_path, state, prefix):
    taken = load(tmp_path / 'a.pth', dict(anything=off_by(state, 0, prefix)))
    assert torch.equal(taken, state['cls_token'])


def test_an_average_with_its_counters_is_found(tmp_path, state):
    """Detectors of the RT-DETR family nest it: ``ema.module``."""
    ema = dict(module=state, updates=torch.tensor(30), warmups=2000)
    content = dict(model=off_by(state, 1), ema=ema, last_epoch=3)
    assert torch.equal(load(tmp_path / 'a.pth', content), state['cls_token'])
    chosen = load(tmp_path / 'a.pth', content, key='model')
    assert torch.equal(chosen, state['cls_token'] + 1)
    named = load(tmp_path / 'a.pth', content, key='ema.module')
    assert torch.equal(named, state['cls_token'])


def test_the_average_of_mmengine_is_taken(tmp_path, state):
    """mmengine's EMAHook swaps the two in its checkpoints."""
    hook = dict(type='mmengine.EMAHook', momentum=0.5)
    run = Runner.from_cfg(
        config(tmp_path, dict(type='mmdmlora.FullFinetuneModel'), custom_hooks=[hook])
    )
    run.train()
    average = next(h for h in run.hooks if isinstance(h, EMAHook)).ema_model.module
    expected = average.backbone.module.cls_token
    assert not torch.equal(expected, run.model.backbone.module.cls_token)
    backbone = MODELS.build(copy.deepcopy(VIT))
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'epoch_3.pth'))
    load_init_cfg(backbone, init_cfg)
    assert torch.equal(backbone.cls_token, expected)


def test_the_log_says_what_was_taken(tmp_path, state):
    both = {'student': state, 'teacher': off_by(state, 0, 'backbone.')}
    with mock.patch('mmdmlora.models.pretrained.print_log') as log:
        load(tmp_path / 'a.pth', both)
    said = log.call_args.args[0]
    assert said.endswith(
        "a.pth: 'teacher', names below 'backbone.'; not taken: key='student'"
    )


def refusal(path, content, **settings):
    with pytest.raises(ValueError) as error:
        load(path, content, **settings)
    return str(error.value)


def test_a_damaged_average_is_not_replaced_in_silence(tmp_path, state):
    cut = {k: v for k, v in state.items() if k != 'cls_token'}
    message = refusal(tmp_path / 'a.pth', dict(model=state, model_ema=cut))
    assert "first ['cls_token']" in message
    assert "This is its 'model_ema'; key= takes one of ['model']" in message


def test_what_could_be_meant_is_not_guessed(tmp_path, state):
    content = dict(net_a=state, net_b=off_by(state, 1))
    assert "['net_a', 'net_b']. Name one with key=" in refusal(tmp_path / 'a', content)
    both = off_by(state, 0, 'left.') | off_by(state, 1, 'right.')
    assert 'Name one with prefix=' in refusal(tmp_path / 'a', both)


def test_wrong_settings_list_what_there_is(tmp_path, state):
    content = dict(state_dict=state, model_ema=state, optimizer=dict(state={}))
    message = refusal(tmp_path / 'a', content, key='ema')
    assert "key='ema' names no state dict" in message
    assert "['state_dict', 'model_ema']" in message
    message = refusal(tmp_path / 'a', content, prefix='bone')
    assert "prefix='bone': no name begins with it. The file names ['cls_token'" in message
    assert "nothing reads ['keys']" in refusal(tmp_path / 'a', content, keys='x')


def test_the_files_own_names_are_shown(tmp_path, state):
    deep = dict(run=dict(ema=dict(weights=state)))
    assert "first ['run > ema > weights > cls_token'" in refusal(tmp_path / 'a', deep)
    named = {f'odd.{k}x': v for k, v in state.items()}
    message = refusal(tmp_path / 'a', dict(student=named, teacher=named))
    assert "The file names ['odd.cls_tokenx'" in message
    assert "holds no tensors. Its keys are ['epoch']" in refusal(
        tmp_path / 'a', dict(epoch=3)
    )


def test_statistics_of_batch_norms_must_come_from_the_file(tmp_path):
    config = dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8)
    state = MODELS.build(dict(config)).state_dict()
    del state['bn1.running_mean']
    torch.save(state, tmp_path / 'a.pth')
    init_cfg = dict(type='Pretrained', checkpoint=str(tmp_path / 'a.pth'))
    with pytest.raises(ValueError, match=r"first \['bn1.running_mean'\]"):
        load_init_cfg(MODELS.build(config), init_cfg)


def test_ranks():
    assert preferred_prefix(['a.', 'student.', 'teacher.', 'ema.', '']) == 'ema.'
    assert preferred_prefix(['a.', 'student.']) == 'a.'
    with pytest.raises(ValueError, match="'a.', 'b.'"):
        preferred_prefix(['a.', 'b.', 'student.'])
    choice = read_preferred({'x': torch.ones(1), 'epoch': 3}, len)
    assert (choice.key, choice.content, choice.others) == ('', 1, ())
