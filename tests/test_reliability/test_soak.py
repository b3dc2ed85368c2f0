"""The soak, with five kills and checkpoints by time: as if it had never been killed."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    'options',
    [
        '',
        '--workers 2 --ema --cfg-options optim_wrapper.optimizer.fused=True '
        'model.backbone.frozen_dtype=bfloat16',
        '--processes 2 --workers 0 1 2 --no-flips',
        '--by-iteration --workers 0 1 2 --ema',
    ],
    ids=[
        'plain',
        'workers, average, fused optimizer, frozen weights in bfloat16',
        'two processes, changing workers',
        'by iteration, changing workers, average',
    ],
)
def test_five_kills(options, tmp_path):
    command = ['-m', 'tests.soak_resume', '--kills=5', f'--out={tmp_path}']
    result = subprocess.run(
        [sys.executable, *command, *options.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    counts = result.stdout.splitlines()[-1].strip('| ').split(' | ')
    kills, _, _, trained_again, problems = counts
    assert (kills, problems) == ('5', '0')
    assert float(trained_again) > 0
