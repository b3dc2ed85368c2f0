"""The command ``mmdmlora``: what it lists, what it passes on, and how soon it answers."""

import os
import runpy
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from mmdmlora import __version__, cli

ROOT = Path(__file__).parents[2]
TOOLS = {
    'train.py': 'train',
    'test.py': 'test',
    'predict.py': 'predict',
    'merge.py': 'merge',
    'export.py': 'export',
    'check_data.py': 'check-data',
    'convert_backbone.py': 'convert',
    'browse_data.py': 'browse',
    'benchmark.py': 'benchmark',
    'reproduce.py': 'reproduce',
    'report.py': 'report',
    'search.py': 'search',
}


def run(*args: str, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=dict(os.environ, PYTHONPATH=str(ROOT)),
    )


@pytest.mark.parametrize('name', cli.COMMANDS)
def test_every_command_has_its_module_and_help(name, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([name, '--help'])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f'usage: mmdmlora {name} ')
    module = import_module(f'mmdmlora.cli.{name.replace("-", "_")}')
    assert module.__doc__.startswith(f'``mmdmlora {name}``')


def test_help_lists_every_command_without_loading_pytorch(tmp_path):
    code = (
        'import runpy, sys; sys.argv = ["mmdmlora", "--help"]\n'
        'try: runpy.run_module("mmdmlora", run_name="__main__")\n'
        'except SystemExit: pass\n'
        'heavy = {"torch", "numpy", "mmengine", "mmpretrain"} & set(sys.modules)\n'
        'sys.exit(f"loaded: {heavy}" if heavy else 0)'
    )
    result = run('-c', code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    for name, text in cli.COMMANDS.items():
        assert name in result.stdout and text in result.stdout


def test_version_and_unknown_command(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(['--version'])
    assert ended.value.code == 0 and capsys.readouterr().out == f'{__version__}\n'
    with pytest.raises(SystemExit) as ended:
        cli.main(['trian'])
    assert ended.value.code == 2 and "invalid choice: 'trian'" in capsys.readouterr().err


@pytest.mark.parametrize('tool', TOOLS)
def test_each_tool_is_its_command(tool, monkeypatch):
    called = []
    monkeypatch.setattr(cli, 'main', called.append)
    monkeypatch.setattr(sys, 'argv', [tool, 'a', '--b=c'])
    runpy.run_path(str(ROOT / 'tools' / tool), run_name='__main__')
    assert called == [[TOOLS[tool], 'a', '--b=c']]


def test_there_is_a_tool_for_each_command():
    assert sorted(TOOLS.values()) == sorted(cli.COMMANDS)


def test_trains_tests_and_merges_by_name_from_any_folder(tmp_path):
    name = 'dmlora/vit-tiny_digits'
    options = ('train_cfg.max_epochs=4', 'train_dataloader.num_batch_per_epoch=2')
    module = ('-m', 'mmdmlora')
    trained = run(*module, 'train', name, '--cfg-options', *options, cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr[-3000:]
    folder = Path('work_dirs', name)
    checkpoint = str(folder / 'epoch_4.pth')
    assert (tmp_path / checkpoint).is_file()
    tested = run(*module, 'test', f'configs/{name}.py', checkpoint, cwd=tmp_path)
    assert tested.returncode == 0, tested.stderr[-3000:]
    assert 'accuracy/top1' in tested.stdout + tested.stderr
    merged = run(*module, 'merge', name, checkpoint, 'out.pth', cwd=tmp_path)
    assert merged.returncode == 0, merged.stderr[-3000:]
    assert (tmp_path / 'out.pth').is_file() and (tmp_path / 'out.py').is_file()
