from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from mmdmlora.io.plain import TAG
from tests.test_engine.toy_runner import CLASSES, SpyHook, toy_runner
from tests.test_io.test_plain import assert_same_buffer

HOOKS = [{'type': 'mmdmlora.PlainCheckpointHook'}, {'type': 'EMAHook'}]


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    spy = SpyHook()
    runner = toy_runner(tmp_path_factory.mktemp('plain'), hooks=HOOKS)
    runner.register_hook(spy)
    runner.train()
    return runner, spy


def test_every_file_of_a_run_loads_without_an_allow_list(trained):
    runner, _ = trained
    files = sorted(Path(runner.work_dir).glob('*.pth'))
    assert len(files) >= 3
    for file in files:
        checkpoint = torch.load(file, weights_only=True)
        scalars = checkpoint['message_hub']['log_scalars']
        assert scalars['train/loss'][TAG] == 'HistoryBuffer'
        assert checkpoint['meta']['dataset_meta']['classes'] == CLASSES


def test_best_score_is_a_python_number(trained):
    runner, _ = trained
    checkpoint = torch.load(f'{runner.work_dir}/epoch_2.pth', weights_only=True)
    assert type(checkpoint['message_hub']['runtime_info']['best_score']) is float


def test_saving_leaves_the_live_objects_alone(trained):
    runner, _ = trained
    hub = runner.message_hub
    assert all(type(item) is HistoryBuffer for item in hub.log_scalars.values())
    assert type(hub.get_info('best_score')) is np.float64
    palette = runner.train_dataloader.dataset.metainfo['palette']
    assert type(palette) is np.ndarray


def test_resume_restores_the_histories_bit_for_bit(trained, tmp_path):
    runner, spy = trained
    resumed = toy_runner(
        tmp_path, hooks=HOOKS, resume=True, load_from=f'{runner.work_dir}/epoch_1.pth'
    )
    resumed.call_hook('before_run')
    resumed.load_or_resume()
    # Epoch 1 is saved before its validation, and again with the best score.
    at_epoch_1 = [saved for saved in spy.saved if len(saved['train/loss'].data[0]) == 3]
    expected = at_epoch_1[-1]
    assert set(resumed.message_hub.log_scalars) == set(expected)
    for name, buffer in expected.items():
        assert_same_buffer(resumed.message_hub.get_scalar(name), buffer)


def test_resume_continues_the_smoothed_loss(trained, tmp_path):
    runner, _ = trained
    resumed = toy_runner(
        tmp_path, hooks=HOOKS, resume=True, load_from=f'{runner.work_dir}/epoch_1.pth'
    )
    resumed.train()
    whole = runner.message_hub.get_scalar('train/loss').data[0]
    continued = resumed.message_hub.get_scalar('train/loss').data[0]
    assert len(continued) == len(whole) == 6
    assert continued[:3].tobytes() == whole[:3].tobytes()


def test_resume_finds_the_same_dataset_meta(trained, tmp_path, monkeypatch):
    runner, _ = trained
    resumed = toy_runner(tmp_path, hooks=HOOKS)
    resumed.call_hook('before_run')
    warnings = []
    monkeypatch.setattr(resumed.logger, 'warning', warnings.append)
    resumed.resume(f'{runner.work_dir}/epoch_1.pth')
    assert not [text for text in warnings if 'metainfo' in text]
