"""tools/check_data.py as a user runs it: what it prints and how it ends."""

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from tests.linked_trees import kitti, one_jpeg

TOOL = Path(__file__).parents[2] / 'tools' / 'check_data.py'


@pytest.fixture
def task(tmp_path):
    return kitti(tmp_path / 'vtab-1k', one_jpeg(tmp_path / 'source' / 'a.jpg'))


@pytest.fixture
def check(monkeypatch, capsys):
    """Run the tool; return its exit code, its output and its messages."""

    def run(*args):
        monkeypatch.setattr(sys, 'argv', ['check_data.py', *map(str, args)])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(TOOL), run_name='__main__')
        output = capsys.readouterr()
        if isinstance(end.value.code, str):
            return 1, output.out, end.value.code
        return end.value.code, output.out, output.err

    return run


def damage(task, fault):
    """Spoil one thing; return the word by which the report has to name it."""
    image = task / 'images' / 'test' / '000009.jpg'
    data = image.read_bytes()
    if fault == 'no list':
        (task / 'val200.txt').unlink()
        return 'val200.txt'
    if fault == 'count':
        with open(task / 'test.txt', 'a') as lines:
            lines.write('images/test/000001.jpg 1\n')
        return '712 images are listed where 711 are expected'
    if fault == 'label':
        (task / 'train800.txt').write_text('images/train800/000000.jpg 9\n')
        return 'the label 9'
    image.unlink()
    if fault == 'no image':
        return '000009.jpg'
    contents = {'cut off': data[:-5], 'empty': b'', 'not an image': b'<html>'}
    image.write_bytes(contents[fault])
    return f'the file is {fault}'


def test_a_good_tree_ends_with_0(task, check):
    code, output, _ = check(task.parents[1])
    assert code == 0
    rows = [line.split() for line in output.splitlines()]
    assert ['kitti', 'train800', '800', '800', 'ok'] in rows
    assert ['test', '711', '711', 'ok'] in rows
    assert 'Not there, of VTAB-1k: cifar' in output
    assert 'ERROR' not in output


@pytest.mark.parametrize(
    'fault',
    ['no list', 'count', 'label', 'no image', 'cut off', 'empty', 'not an image'],
)
def test_every_fault_ends_with_1_and_is_named(task, check, fault):
    word = damage(task, fault)
    code, output, _ = check(task.parents[1])
    assert code == 1
    assert word in output and '1 to be mended' in output


def test_fast_skips_the_images_and_says_so(task, check):
    damage(task, 'cut off')
    code, output, _ = check(task.parents[1], '--fast')
    assert code == 0
    assert 'not opened' in output


def test_json(task, check, tmp_path):
    damage(task, 'cut off')
    code, _, _ = check(task.parents[1], '--json', tmp_path / 'report.json')
    report = json.loads((tmp_path / 'report.json').read_text())
    assert code == 1 and report['ok'] is False
    (path,) = report['splits'][3]['bad_images']
    assert path.endswith('images/test/000009.jpg')
    assert report['splits'][0]['found'] == 800


def test_nothing_to_check(check, tmp_path):
    code, _, message = check(tmp_path)
    assert code == 1
    assert message.startswith('error: no benchmark lies under')


def test_as_a_process(task, tmp_path):
    damage(task, 'count')
    result = subprocess.run(
        [sys.executable, str(TOOL), str(task.parents[1]), '--fast'],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=dict(os.environ, PYTHONPATH=str(TOOL.parents[1])),
    )
    assert result.returncode == 1
    assert 'ERROR: count' in result.stdout
    assert 'Traceback' not in result.stderr
