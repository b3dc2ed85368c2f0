"""What a run shows on the console, and what its log keeps."""

import io
import json
import logging
import re

import pytest
from mmengine.hooks import Hook
from mmpretrain.utils import load_json_log
from rich.console import Console

from mmdmlora.engine.console import ConsoleHandler, build_runner, use_log_format
from tests.peft_runner import config

HOOKS = dict(
    console=dict(type='ConsoleHook', interval=2),
    pruning=dict(type='BranchPruningHook', interval=1, min_branches=2),
    monitor=dict(type='AdapterMonitorHook'),
    summary=dict(type='SummaryHook'),
)
ITERATIONS = dict(type='ResumableIterBasedTrainLoop', max_iters=4, val_interval=2)


class WarnHook(Hook):
    def after_train_epoch(self, runner):
        runner.logger.warning('the images are few')
        runner.logger.info('an epoch is over')
        runner.logger.warning('"FileClient" will be deprecated in future')


def settings(folder, hooks=HOOKS, **overrides):
    return config(folder, hooks=hooks, log_level='INFO', **overrides)


def shown(capsys, config, *hooks: Hook) -> list[str]:
    capsys.readouterr()
    runner = build_runner(config)
    for hook in hooks:
        runner.register_hook(hook)
    runner.train()
    out, err = capsys.readouterr()
    assert err == ''
    return out.splitlines()


def rows(lines: list[str]) -> dict[str, list[str]]:
    """The lines of epochs or iterations, by their heading and column."""
    place = next(i for i, e in enumerate(lines) if re.match(r' *(epoch|iteration)  ', e))
    heading = lines[place]
    ends = [m.end() for m in re.finditer(r'(best \(at\)|train acc|\S+)', heading)]
    names = re.findall(r'best \(at\)|train acc|\S+', heading)
    body = [e for e in lines[place + 1 :] if re.match(r' *\d+/\d+ ', e)]
    starts = [0, *ends[:-1]]
    return {
        name: [row[a:b].strip() for row in body]
        for name, a, b in zip(names, starts, ends, strict=True)
    }


def log_of(folder) -> str:
    return ''.join(file.read_text() for file in sorted(folder.glob('*/*.log')))


def test_an_epoch_is_a_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = shown(capsys, settings(tmp_path / 'run', epochs=5))
    assert max(map(len, lines)) <= 100
    assert len(lines) <= 5 + 20
    columns = rows(lines)
    assert columns['epoch'] == [f'{i}/5' for i in range(1, 6)]
    # Pruned at most once an epoch down to two; the last epochs have two.
    assert columns['branches'] == ['4/4', '3/4', '2/4', '2/4', '2/4']
    scores = [float(text) for text in columns['val']]
    best = [max(scores[: i + 1]) for i in range(5)]
    at = [scores.index(score) + 1 for score in best]
    assert columns['best (at)'] == [
        f'{s:.2f} ({a})' for s, a in zip(best, at, strict=True)
    ]
    assert columns['left'][-1] == '0:00:00'
    assert all(float(text.replace(',', '')) > 0 for text in columns['images/s'])


def test_loss_and_accuracy_are_means_over_the_epoch(tmp_path, capsys):
    run = settings(tmp_path)
    runner = build_runner(run)
    runner.train()
    columns = rows(capsys.readouterr().out.splitlines())
    for name, key in (('loss', 'loss'), ('train acc', 'accuracy_top-1')):
        history = runner.message_hub.get_scalar(f'train/{key}').data[0]
        means = history.reshape(3, 2).mean(1)
        assert [float(t) for t in columns[name]] == pytest.approx(means, abs=0.006)


def test_config_and_environment_are_in_the_file_alone(tmp_path, capsys):
    text = '\n'.join(shown(capsys, settings(tmp_path)))
    for part in (
        'System environment',
        'Config:',
        'Hooks will be executed',
        'Epoch(train)',
    ):
        assert part not in text
        assert part in log_of(tmp_path)


def test_warnings_reach_the_console(tmp_path, capsys):
    text = '\n'.join(shown(capsys, settings(tmp_path), WarnHook()))
    assert text.count('warning: the images are few') == 1  # mmengine's own rule
    assert 'an epoch is over' not in text and 'deprecated' not in text
    log = log_of(tmp_path)
    assert 'an epoch is over' in log and 'deprecated' in log


@pytest.mark.parametrize('name, is_concise', [('mmengine', False), ('concise', True)])
def test_the_format_is_an_option(tmp_path, capsys, name, is_concise):
    run = settings(tmp_path)
    use_log_format(run, name)
    text = '\n'.join(shown(capsys, run))
    assert ('Epoch(train)' in text) is not is_concise
    assert ('train acc' in text) is is_concise
    assert 'Summary' in text


def test_the_summary_says_which_file_is_which(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = shown(capsys, settings(tmp_path / 'run'))
    files = lines[lines.index('Files in run') + 1 :]
    meanings = dict(line.split(maxsplit=1) for line in files)
    assert meanings['epoch_3.pth'].startswith('last checkpoint (epoch 3)')
    assert 'merged from epoch_3.pth' in meanings['merged.pth']
    best = next(name for name in meanings if name.startswith('best_accuracy'))
    assert meanings[best].startswith('best on validation')
    assert all((tmp_path / 'run' / name).is_file() for name in meanings)


def test_a_loop_by_iterations_has_a_line_an_interval(tmp_path, capsys):
    checkpoint = dict(type='CrashSafeCheckpointHook', by_epoch=False, interval=2)
    run = settings(
        tmp_path,
        dict(console=HOOKS['console'], summary=HOOKS['summary']),
        train_cfg=ITERATIONS,
        log_processor=dict(by_epoch=False),
    )
    run.default_hooks.checkpoint = checkpoint
    columns = rows(shown(capsys, run))
    assert columns['iteration'] == ['2/4', '4/4']
    assert all(columns['val'])


def test_a_resumed_run_goes_on_with_its_lines(tmp_path, capsys):
    shown(capsys, settings(tmp_path, dict(console=HOOKS['console']), epochs=2))
    run = settings(tmp_path, dict(console=HOOKS['console']), epochs=3, resume=True)
    columns = rows(shown(capsys, run))
    # The last checkpoint was written before its validation, which is done again.
    assert columns['epoch'] == ['2/3', '3/3']
    assert not columns['loss'][0] and columns['loss'][1]
    assert all(columns['val']) and all(columns['best (at)'])


@pytest.mark.parametrize(
    'preprocessor',
    [
        dict(batch_augments=dict(augments=dict(type='Mixup', alpha=0.8))),
        dict(batch_augments=dict(augments=dict(type='CutMix', alpha=1.0))),
    ],
)
def test_mixed_labels_have_no_training_accuracy(tmp_path, capsys, preprocessor):
    run = settings(tmp_path, dict(console=HOOKS['console']), epochs=1)
    run.data_preprocessor.update(num_classes=10, **preprocessor)
    assert 'train acc' not in rows(shown(capsys, run))


def test_heads_with_fewer_classes_than_ranks_are_left_alone(tmp_path, capsys):
    run = settings(tmp_path, dict(console=HOOKS['console']), epochs=1)
    run.model.head.topk = (1, 11)
    assert 'train acc' not in rows(shown(capsys, run))


def test_the_hook_changes_no_weight(tmp_path):
    results = []
    for name in ('mmengine', 'concise'):
        run = settings(tmp_path / name)
        use_log_format(run, name)
        runner = build_runner(run)
        runner.train()
        results.append(runner.model.state_dict())
    assert all((results[0][k] == results[1][k]).all() for k in results[0])


def test_a_test_shows_its_metrics(tmp_path, capsys):
    shown(capsys, settings(tmp_path))
    run = settings(tmp_path, dict(console=HOOKS['console']))
    for key in ('train_dataloader', 'train_cfg', 'optim_wrapper', 'val_cfg'):
        run.pop(key)
    run.pop('val_dataloader')
    run.pop('val_evaluator')
    build_runner(run).test()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'Test'
    assert re.fullmatch(r'  accuracy/top1  \d+\.\d\d', lines[1]) and len(lines) == 2


def test_scalars_have_the_form_that_analyze_logs_reads(tmp_path):
    """It takes a line with ``lr`` for training and any other for a validation."""
    build_runner(settings(tmp_path)).train()
    file = next(tmp_path.glob('*/vis_data/scalars.json'))
    log = load_json_log(file)
    assert len(log['train']) == 6 and len(log['val']) == 3
    for line in log['train']:
        assert {'loss', 'time', 'step', 'epoch', 'accuracy_top-1', 'scale'} <= line.keys()
    assert all({'accuracy/top1', 'step'} <= line.keys() for line in log['val'])
    scales = file.with_name('scales.json').read_text().splitlines()
    assert [json.loads(line)['step'] for line in scales] == [1, 2, 3]


def terminal(level=logging.INFO) -> ConsoleHandler:
    handler = ConsoleHandler(level)
    handler.console = Console(file=io.StringIO(), force_terminal=True, width=80)
    return handler


def test_a_terminal_has_a_bar_that_makes_room():
    handler = terminal()
    handler.show_bar('epoch 1/2', 3, 12)
    handler.print('a line')
    text = handler.console.file.getvalue()
    assert '3/12' in text
    assert text.index('3/12') < text.index('\x1b[2K') < text.index('a line')


def test_a_file_has_no_bar(capsys):
    ConsoleHandler(logging.INFO).show_bar('epoch 1/2', 3, 12)
    assert capsys.readouterr().out == ''


def test_other_processes_print_errors_only():
    handler = terminal(logging.ERROR)
    handler.show_bar('epoch 1/2', 3, 12)
    handler.print('a line')
    assert handler.console.file.getvalue() == ''
