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
from tests.wrapped_data import WRAPPERS


@pytest.fixture(scope='module')
def composed():
    return load_config(DMLORA)


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


@pytest.mark.parametrize('wrap', WRAPPERS.values(), ids=WRAPPERS)
def test_data_that_a_wrapper_reads_is_looked_for(tmp_path, wrap):
    cfg = config(tmp_path)
    dataset = dict(type='VTAB1k', data_root=str(tmp_path / 'nowhere'))
    cfg.train_dataloader.dataset = wrap(dataset)
    with pytest.raises(ValueError, match='The data folder .*nowhere'):
        checks.check_files(cfg)
    dataset['data_root'] = str(tmp_path)
    cfg.train_dataloader.dataset = wrap(dataset)
    checks.check_files(cfg)
