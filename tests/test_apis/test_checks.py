"""What is refused before anything is built, and what isn't."""

import errno
import os
from unittest import mock

import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmdmlora.apis import checks
from mmdmlora.apis.compose import load_config
from mmdmlora.apis.outputs import check_output
from tests.peft_runner import config, runner
from tests.test_reliability.tool import DMLORA


@pytest.fixture(scope='module')
def composed():
    return load_config(DMLORA)


@pytest.mark.parametrize(
    'option, message',
    [
        (
            'modle.backbone.rank',
            r"nothing reads a setting 'modle'.*model.backbone.rank\?",
        ),
        ('qqqqqqq', 'Leave it out'),
        ('method.rank', 'comes too late.*Set model.backbone'),
        ('num_classes', 'Set model.head.num_classes'),
        ('input_size', 'img_size'),
        ('train_pipeline.0.scale', 'train_dataloader.dataset.pipeline'),
    ],
)
def test_options_that_nothing_reads(composed, option, message):
    with pytest.raises(ValueError, match=message):
        checks.check_options(composed, ['randomness.seed', option])


def test_options_that_are_read(composed):
    options = ['model.backbone.rank', 'custom_hooks', 'model_wrapper_cfg.type']
    checks.check_options(composed, [*options, 'find_unused_parameters'])
    checks.check_options(Config(dict(num_classes=3)), ['num_classes'])


def test_checking_a_folder_leaves_nothing(tmp_path):
    checks.check_writable(tmp_path / 'a' / 'b', 'x')
    check_output(tmp_path / 'a' / 'b.pth', 'OUT')
    assert not list(tmp_path.iterdir())


def test_places_that_can_not_be_written(tmp_path):
    (tmp_path / 'file').write_text('x')
    for place in ('file', 'file/below', 'file/below/it'):
        with pytest.raises(ValueError, match="file' is a file, no folder. Remedy"):
            checks.check_writable(tmp_path / place, 'Remedy.')
    with pytest.raises(ValueError, match='is a folder. Name another file as OUT'):
        check_output(tmp_path, 'OUT')
    refusal = PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    with (
        mock.patch('tempfile.TemporaryFile', side_effect=refusal),
        pytest.raises(ValueError, match=r'/new.* can not be written \(Permission denied'),
    ):
        checks.check_writable(tmp_path / 'new', 'Remedy.')


@pytest.mark.parametrize(
    'path, value',
    [
        ('train_cfg.max_epochs', 0),
        ('train_cfg.max_epochs', 2.5),
        ('train_cfg.max_epochs', True),
        ('train_cfg.max_iters', -1),
        ('train_cfg.val_interval', 'x'),
        ('optim_wrapper.accumulative_counts', 0),
        ('optim_wrapper.optimizer.lr', '1e-3'),
        ('optim_wrapper.optimizer.lr', float('nan')),
        ('randomness.seed', -1),
        ('randomness.seed', 2**32),
    ],
)
def test_numbers_that_can_not_be(path, value):
    cfg = Config(dict(model=None))
    cfg.merge_from_dict({path: value})
    with pytest.raises(ValueError, match=f'{path}={value} is no'):
        checks.check_numbers(cfg)


def test_numbers_that_can_be(composed):
    checks.check_numbers(composed)
    checks.check_numbers(Config(dict(randomness=dict(seed=None), optim_wrapper=None)))
    checks.check_numbers(Config(dict(optim_wrapper=dict(optimizer=dict(type='SGD')))))


def test_epoch_without_a_step(tmp_path):
    cfg = config(tmp_path)
    del cfg.train_dataloader['num_batch_per_epoch']
    cfg.train_dataloader.update(batch_size=801, drop_last=True)
    with pytest.raises(ValueError, match='batch_size=801 leaves no step.*<=800'):
        checks.check_steps(Runner.from_cfg(cfg))
    cfg.train_dataloader.update(batch_size=800)
    cfg.experiment_name += '-again'
    checks.check_steps(Runner.from_cfg(cfg))


def test_start_from_a_file_that_shares_nothing(tmp_path):
    run = runner(tmp_path)
    file = tmp_path / 'x.pth'
    for state in (dict(weight=torch.ones(1)), dict(state_dict=dict(w=torch.ones(1)))):
        torch.save(state, file)
        with pytest.raises(ValueError, match='holds nothing of the model.*--weights'):
            checks.check_start(run, str(file))
    torch.save({'module.head.fc.bias': torch.ones(10)}, file)
    checks.check_start(run, str(file))
