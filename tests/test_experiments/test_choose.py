"""``mmdmlora search``: its table and its config."""

from pathlib import Path

import pytest
from mmengine.config import Config

from mmdmlora import cli
from mmdmlora.experiments import choose
from mmdmlora.experiments.runs import Run

LR, SCALE = 'optim_wrapper.optimizer.lr', 'model.backbone.scale'
SPACE = f'space = {{{LR!r}: [1e-3, 5e-3, 9.0], {SCALE!r}: [1.0, 10.0]}}\n'
SHORT = ('train_cfg.max_epochs=4', 'train_dataloader.dataset.num_shots=8')


@pytest.fixture
def space(tmp_path) -> Path:
    file = tmp_path / 'space.py'
    file.write_text(SPACE)
    return file


def search(space: Path, *options: str) -> Path:
    """Search beside the space's file; the folder is returned."""
    folder = space.parent / 'my search'
    cli.main(
        ['search', 'lora/vit-tiny_digits', '--space', str(space)]
        + ['--work-dir', str(folder), *options]
    )
    return folder


def rows(output: str) -> list[list[str]]:
    """The lines of the table below its heading."""
    lines = [line for line in output.splitlines() if line.startswith('|')]
    return [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines[2:]]


class Invented(choose.Scheduler):
    """Accuracies of a formula; a rate of 9 fails."""

    def results(self, runs, part):
        return [self.record(run.settings) for run in runs]

    def record(self, settings):
        if settings[LR] == 9:
            return None
        return dict(accuracy=1e4 * settings[LR] + 10 / 3 * settings[SCALE])

    def failures(self):
        return ['the loss is not finite']


def test_table_and_config(space, monkeypatch, capsys):
    monkeypatch.setattr(choose, 'Scheduler', Invented)
    folder = search(space)
    output = capsys.readouterr().out
    assert rows(output) == [
        ['0', '0.001', '1.0', '25%', '13.33'],
        ['1', '0.001', '10.0', '25%', '43.33'],
        ['2', '0.005', '1.0', 'all', '53.33'],
        ['3', '0.005', '10.0', 'all', '83.33 (best)'],
        ['4', '9.0', '1.0', '25%', 'failed'],
        ['5', '9.0', '10.0', '25%', 'failed'],
    ]
    assert 'failed: the loss is not finite' in output
    assert f"mmdmlora train '{folder / 'best.py'}'" in output
    best = Run('lora/vit-tiny_digits', {LR: 5e-3, SCALE: 10.0})
    assert Config.fromfile(folder / 'best.py').to_dict() == best.resolved()


def test_where_all_fail_it_says_why(space, monkeypatch):
    monkeypatch.setattr(choose, 'Scheduler', Invented)
    space.write_text(f'space = {{{LR!r}: [9.0]}}\n')
    with pytest.raises(SystemExit, match='every trial has failed.\n  the loss is not'):
        search(space)
    assert not (space.parent / 'my search' / 'best.py').exists()


def test_a_real_one_is_trained(space, capsys):
    pytest.importorskip('ray')
    space.write_text(f'space = {{{LR!r}: [1e-3, 5e-3]}}\n')
    folder = search(space, '--no-halving', '--cfg-options', *SHORT)
    first = rows(capsys.readouterr().out)
    accuracies = [float(cells[-1].removesuffix('(best)')) for cells in first]
    assert len(accuracies) == 2 and 0 <= min(accuracies) <= max(accuracies) <= 100
    config = Config.fromfile(folder / 'best.py')
    chosen = config.optim_wrapper.optimizer.lr
    assert chosen == (1e-3 if accuracies[0] >= accuracies[1] else 5e-3)
    # Called again, it finds all results.
    search(space, '--no-halving', '--cfg-options', *SHORT)
    assert rows(capsys.readouterr().out) == first
    cli.main(['train', str(folder / 'best.py'), '--work-dir', str(folder / 'trained')])
    assert (folder / 'trained' / 'epoch_4.pth').is_file()
