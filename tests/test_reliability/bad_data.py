"""Damaged images and empty lists, and what the user of a training is told."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from PIL import Image

from tests.test_reliability.tool import ROOT, run_options, run_tool
from tests.trees import make_vtab_task

CONFIG = str(ROOT / 'configs/linear/vit-tiny_vtab-dtd.py')
COUNTS = dict(train800val200=8, test=2)
TRAIN = 'images/train800val200/000003.jpg'
TEST = 'images/test/000001.jpg'
SKIP = 'train_dataloader.dataset.skip_corrupt=True'

Damage = Callable[[Path], object]


def _task(folder: Path) -> Path:
    return make_vtab_task(folder / 'data', 'dtd', 47, COUNTS)


def _arguments(folder: Path, *options: str) -> list[str]:
    settings = (
        'train_cfg.max_epochs=1',
        'param_scheduler.0.end=1',
        'param_scheduler.1.begin=0',
        'train_dataloader.batch_size=2',
        *(f'{name}_dataloader.num_workers=0' for name in ('train', 'test')),
        *options,
    )
    return [CONFIG, f'--data-root={folder}/data', *run_options(folder, *settings)]


def _damaged(damage: Damage, *options: str, image: str = TRAIN) -> Callable[[Path], str]:
    """A training on a tree with one image that ``damage`` has spoilt."""

    def case(folder: Path) -> str:
        damage(_task(folder) / image)
        message = run_tool('train.py', *_arguments(folder, *options))
        assert '\n' not in message
        has_trained = (folder / 'run' / 'epoch_1.pth').exists()
        assert has_trained == (image == TEST)
        return message

    return case


def _picture() -> Image.Image:
    pixels = np.random.RandomState(0).randint(0, 256, (64, 64, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _cut(kind: str, zeros: bool = False, **options: object) -> Damage:
    """Keep two thirds of a file, which zeros may fill up again."""

    def damage(file: Path) -> None:
        _picture().save(file, kind, **options)
        whole = file.read_bytes()
        kept = len(whole) * 2 // 3
        file.write_bytes(whole[:kept] + bytes(len(whole) - kept if zeros else 0))

    return damage


def _change_a_byte(file: Path) -> None:
    _picture().save(file, 'PNG')
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 255
    file.write_bytes(content)


def _in_two_processes(folder: Path) -> str:
    _cut('JPEG')(_task(folder) / TRAIN)
    launch = ['-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2']
    tool = [str(ROOT / 'tools' / 'train.py'), '--launcher=pytorch']
    result = subprocess.run(
        [sys.executable, *launch, *tool, *_arguments(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert result.returncode == 1 and ']: Traceback' not in result.stderr, result.stderr
    return re.search(r'^error: (The image .*)$', result.stderr, re.MULTILINE)[1]


def _skipped(folder: Path) -> str:
    _cut('JPEG')(_task(folder) / TRAIN)
    argv = ['train.py', *_arguments(folder, SKIP)]
    with mock.patch.object(sys, 'argv', argv):
        runpy.run_path(str(ROOT / 'tools' / 'train.py'), run_name='__main__')
    (log,) = (folder / 'run').glob('*/*.log')
    return re.search(r'WARNING - (skip_corrupt.*)$', log.read_text(), re.MULTILINE)[1]


def _nothing_left(folder: Path) -> str:
    for file in (_task(folder) / TRAIN).parent.iterdir():
        file.write_bytes(b'')
    return run_tool('train.py', *_arguments(folder, SKIP))


def _empty_list(content: str) -> Callable[[Path], str]:
    def case(folder: Path) -> str:
        (_task(folder) / 'train800val200.txt').write_text(content)
        return run_tool('train.py', *_arguments(folder))

    return case


CASES = {
    'a JPEG file that is cut off': _damaged(_cut('JPEG')),
    'the same, read by two worker processes': _damaged(
        _cut('JPEG'), 'train_dataloader.num_workers=2'
    ),
    'the same, in a training with two processes': _in_two_processes,
    'a progressive JPEG file whose end is zeros': _damaged(
        _cut('JPEG', zeros=True, progressive=True)
    ),
    'a PNG file that is cut off, named .jpg': _damaged(_cut('PNG')),
    'a PNG file with a changed byte': _damaged(_change_a_byte),
    'an empty file': _damaged(lambda file: file.write_bytes(b'')),
    'a web page named .jpg': _damaged(lambda file: file.write_text('<html>404</html>')),
    'a GIF file of the test that is cut off': _damaged(_cut('GIF'), image=TEST),
    f'a JPEG file that is cut off, with `{SKIP}`': _skipped,
    f'nothing but empty files, with `{SKIP}`': _nothing_left,
    'an empty list': _empty_list(''),
    'a list of blank lines': _empty_list('\n \n\t\n'),
}
