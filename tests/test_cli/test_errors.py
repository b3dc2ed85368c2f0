"""The tools as a user runs them: messages, not tracebacks."""

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from mmengine.registry import HOOKS
from torch.utils.data import DataLoader, Dataset

from mmdmlora.cli import main
from mmdmlora.cli.errors import user_errors

ROOT = Path(__file__).parents[2]


def run(tool: str, *args: str, **env: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, str(ROOT / 'tools' / tool), *args],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=dict(os.environ, **env),
    )


def test_without_weights_and_data_it_says_what_to_fetch(tmp_path):
    result = run(
        'train.py',
        str(ROOT / 'configs/dmlora/vit-b16_vtab-dtd.py'),
        f'--work-dir={tmp_path}',
        f'--weights={tmp_path}/vit.pth',
        f'--data-root={tmp_path}/vtab',
    )
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    assert result.stderr.startswith('error: files are missing.')
    for part in ('vit.pth', 'ViT-B_16.npz', '--weights FILE', '/vtab', '--data-root'):
        assert part in result.stderr


@pytest.mark.parametrize(
    'tool, args, message',
    [
        ('train.py', ['configs/dmlora/none_digits.py'], "no backbone is named 'none'"),
        (
            'test.py',
            ['configs/dmlora/vit-tiny_digits.py', 'none.pth'],
            "there is no checkpoint 'none.pth'",
        ),
        (
            'merge.py',
            ['configs/dmlora/vit-tiny_digits.py', 'none.pth', 'out.pth'],
            "there is no checkpoint 'none.pth'",
        ),
    ],
)
def test_faults_end_with_a_message(tool, args, message, tmp_path):
    result = run(tool, *args, f'--work-dir={tmp_path}')
    assert result.returncode == 1
    assert 'Traceback' not in result.stderr
    assert message in result.stderr


def test_the_traceback_can_be_had():
    result = run('train.py', 'configs/x/none_digits.py', MMDMLORA_TRACEBACK='1')
    assert 'Traceback' in result.stderr and 'ValueError' in result.stderr


def message_of(error: BaseException) -> str:
    with pytest.raises(SystemExit) as ended, user_errors():
        raise error
    return str(ended.value.code)


@pytest.mark.parametrize(
    'code, remedy',
    [
        (errno.ENOSPC, 'Make room on the disk.*--resume'),
        (errno.EDQUOT, 'Make room on the disk.*--resume'),
        (errno.EACCES, 'Name another place'),
        (errno.EPERM, 'Name another place'),
        (errno.EROFS, 'Name another place'),
        (errno.ENOENT, 'Check the path'),
        (errno.EISDIR, 'name another path'),
        (errno.ENOTDIR, 'name another path'),
        (errno.EMFILE, ''),
    ],
)
def test_what_the_system_refuses(code, remedy):
    text = message_of(OSError(code, os.strerror(code), '/some/file'))
    pattern = rf'^error: /some/file: {os.strerror(code)}\..*{remedy}'
    assert re.search(pattern, text, re.DOTALL), text


def test_refusal_of_a_target_names_it():
    error = OSError(errno.EXDEV, 'no', '.a.partial', None, 'a')
    assert message_of(error).startswith('error: a: no.')
    assert message_of(OSError('timed out')).startswith('error: timed out\n')


def test_missing_package_of_an_extra_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'sklearn', None)
    monkeypatch.delitem(sys.modules, 'sklearn.datasets', raising=False)
    with pytest.raises(SystemExit) as ended:
        main(['browse', 'linear/vit-tiny_digits', f'--out={tmp_path}/a.png'])
    message = str(ended.value.code)
    assert message.startswith('error: sklearn') and '"mmdmlora[digits]"' in message


def test_faults_of_the_code_keep_their_traceback():
    def misspelt():
        return HOOKS.build(dict(type='Hook'), nme=1)

    for error, fault in (
        (KeyError, lambda: {}['x']),
        (TypeError, lambda: len(1)),
        (TypeError, misspelt),
        (AssertionError, lambda: exec('assert False')),
    ):
        with pytest.raises(error), user_errors():
            fault()


class Faulty(Dataset):
    def __len__(self):
        return 1

    def __getitem__(self, index):
        raise ValueError('image 3 is no image.')


def test_fault_in_a_worker_is_told_without_its_traceback():
    loader = DataLoader(Faulty(), num_workers=1)
    with pytest.raises(SystemExit) as ended, user_errors():
        next(iter(loader))
    assert ended.value.code.startswith('error: image 3 is no image.\n(MMDMLORA')


def test_read_only_disk(tmp_path):
    """A mount of its own, in Linux: permissions don't stop root."""
    mount = f'mount -t tmpfs -o ro none {tmp_path}'
    isolated = ['unshare', '-m', 'sh', '-c']
    if not shutil.which('unshare') or subprocess.run([*isolated, mount]).returncode:
        pytest.skip('needs Linux and the right to mount')
    config = 'configs/dmlora/vit-tiny_digits.py'
    for command, place in (
        (f'train.py {config} --work-dir={tmp_path}/run', "/run'"),
        (f'merge.py {config} x.pth {tmp_path}/merged.pth', ''),
        (f'browse_data.py {config} --out {tmp_path}/a.png', ''),
    ):
        script = f'{mount} && {sys.executable} {ROOT}/tools/{command}'
        result = subprocess.run(
            [*isolated, script], capture_output=True, text=True, cwd=ROOT
        )
        assert result.returncode == 1
        assert result.stderr.startswith(f"error: '{tmp_path}"), result.stderr
        assert f'{place} can not be written (Read-only file system). Name another' in (
            result.stderr
        )
