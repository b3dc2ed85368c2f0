"""The tools as a user runs them: messages, not tracebacks."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

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
