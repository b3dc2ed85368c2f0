"""The command's table, files and refusals."""

import json
import sys

import pytest
from PIL import Image

from mmdmlora import cli
from mmdmlora.apis.benchmark import run as module
from mmdmlora.apis.benchmark.report import markdown
from mmdmlora.apis.benchmark.run import Settings
from mmdmlora.apis.locations import config_root

TINY = ('benchmark', '--backbone', 'vit-tiny', '--batch', '2', '--device', 'cpu')


def test_a_table_a_file_and_a_plot(tmp_path, capsys):
    report, picture = tmp_path / 'a.json', tmp_path / 'a.png'
    methods = ['lora', 'dmlora-fixed-scale:num_branches=4']
    files = ('--json', str(report), '--plot', str(picture))
    cli.main(
        [*TINY, '--steps', '2', '--dtype', 'bfloat16', *files, '--methods', *methods]
    )
    header, _, *table = capsys.readouterr().out.splitlines()
    for part in ('vit-tiny', 'batch 2', 'bfloat16', 'eager', 'torch ', 'threads: '):
        assert part in header
    names = [line.split(' | ')[0].strip('| ') for line in table]
    assert names == ['method', '---', 'forward', *methods]
    content = json.loads(report.read_text())
    assert [row['method'] for row in content['rows']] == ['forward', *methods]
    assert all(len(row['seconds']) == 2 for row in content['rows'])
    assert content['settings']['dtype'] == 'bfloat16'
    with Image.open(picture) as image:
        assert image.width > 600


def test_a_backbone_of_ones_own(tmp_path, capsys):
    file = tmp_path / 'narrow.py'
    base = config_root() / '_base_' / 'backbones' / 'vit-tiny.py'
    file.write_text(f"""
_base_ = {str(base)!r}
arch = dict(embed_dims=8, num_layers=1, num_heads=1, feedforward_channels=16)
model = dict(backbone=dict(arch=arch), head=dict(in_channels=8))
""")
    arguments = ('--backbone', str(file), '--steps', '1', '--methods', 'lora:rank=2')
    cli.main([*TINY, *arguments])
    header, *table = capsys.readouterr().out.splitlines()
    assert header.startswith(f'{file}, batch 2')
    trained = 2 * 2 * (8 + 8) + 8 * 10 + 10  # q and v, and the head
    assert table[-1].startswith(f'| lora:rank=2 | {trained} |')


def test_units_of_the_table():
    row = dict(
        method='lora',
        trained_parameters=12345,
        step_seconds=0.0123,
        step_seconds_quartiles=(0.012, 0.013),
        ratio_to_first=1.0,
        ratio_to_two_forwards=1.25,
        evaluation_ratio_to_forward=1.004,
        images_per_second=4000.0,
        step_bytes=3 * 2**19,
        peak_bytes=2**20,
        operations=1234,
    )
    last = markdown([row], 'lora').splitlines()[-1]
    assert last == (
        '| lora | 12,345 | 12.3 | 12.0 to 13.0 | 1.000 | 1.250 | 1.004 | 4,000.0 | '
        '1.5 | 1.0 | 1,234 |'
    )


@pytest.mark.parametrize(
    'arguments, message',
    [
        (('--methods', 'lora', 'x'), "no method is named 'x'"),
        (('--backbone', 'x'), "no backbone is named 'x'"),
        (('--backbone', 'a/x.py'), "there is no file 'a/x.py'"),
        (('--batch', '0'), 'batch must be at least 1, got 0'),
        (('--steps', '-1'), 'steps must be at least 1, got -1'),
        (('--device', 'x'), "'x' is no device"),
        (('--device', 'mps'), "'mps' can not be measured"),
        (('--device', 'cuda:99'), "'cuda:99' is not there"),
        (('--json', 'a.txt'), "must end in one of ['.json']"),
        (('--json', '/proc/a/a.json'), 'can not be written'),
        (('--plot', 'a.json'), "must end in one of ['.png', '.pdf', '.svg']"),
        (('--methods', 'dmlora:draws=often'), 'draws'),
    ],
)
def test_bad_input_is_refused_before_a_step(arguments, message, monkeypatch):
    monkeypatch.setattr(module, 'measure_side_by_side', None)
    with pytest.raises(SystemExit, match='error: ') as ended:
        cli.main([*TINY, *arguments])
    assert message in str(ended.value)


@pytest.mark.parametrize(
    'package, arguments',
    [
        ('matplotlib', ('--plot', 'a.png')),
        ('matplotlib.figure', ('--plot', 'a.png')),
        ('peft', ('--methods', 'peft-lora')),
        ('timm.models.vision_transformer', ('--methods', 'peft-lora')),
    ],
)
def test_a_missing_package_is_told(package, arguments, monkeypatch):
    monkeypatch.setattr(module, 'measure_side_by_side', None)
    monkeypatch.setitem(sys.modules, package, None)
    # Python names the package or the part of it that was asked for.
    message = rf'{package}[.\w]* is needed here .*mmdmlora\[benchmark\]'
    with pytest.raises(SystemExit, match=message):
        cli.main([*TINY, *arguments])


def test_methods_must_be_named():
    with pytest.raises(ValueError, match='at least one method'):
        Settings(methods=())
