"""The command that pre-trains the embedded backbone."""

import subprocess
import sys
from pathlib import Path

import torch
from safetensors import safe_open

TOOL = Path(__file__).parents[2] / 'tools' / 'pretrain_vit_tiny'


def run(*args, cwd):
    command = [sys.executable, str(TOOL), *args]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True)


def test_a_short_training_writes_a_file_that_can_be_measured(tmp_path):
    done = run('--images=128', '--out=a.safetensors', cwd=tmp_path)
    assert 'images: 128' in done.stdout and 'accuracy_letters:' in done.stdout
    with safe_open(tmp_path / 'a.safetensors', 'pt') as file:
        assert file.metadata()['seed'] == '0'
        assert file.get_tensor('pos_embed').dtype == torch.float16
    done = run('--weights=a.safetensors', '--probe', cwd=tmp_path)
    assert 'linear probe on digits: ' in done.stdout


def test_contact_sheet(tmp_path):
    run('--contact-sheet=new/sheet.png', cwd=tmp_path)
    assert (tmp_path / 'new' / 'sheet.png').is_file()
