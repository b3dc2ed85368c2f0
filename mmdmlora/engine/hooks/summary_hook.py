"""What a run ends with."""

from __future__ import annotations

import copy
import json
import traceback
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch import nn

from mmdmlora.engine.console import ON_CONSOLE, shown_path
from mmdmlora.engine.export import config_beside, save_merged
from mmdmlora.engine.metrics import plain_value
from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.io import atomic_write, load_checkpoint
from mmdmlora.models.methods.dmlora_model import DMLoRAModel
from mmdmlora.models.methods.low_rank_model import LowRankModel
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS

SHARE = 'share of all parameters'
SCALES = 'scales'
FILES = ('checkpoint', 'its file', 'merged model')


@HOOKS.register_module()
class SummaryHook(Hook):
    """Test the model once when training ends, merge it and print the results.

    The weights of the last epoch are tested, not those of the epoch that happens to
    be best on the test set.

    - When: ``after_train``; ``before_train`` looks whether the merged model may be
      written.
    - Touches: runs the test loop, if the config has one; writes ``summary.json`` and the
      merged model, made from the last checkpoint, into ``work_dir``. Metrics become what
      JSON has (:func:`~mmdmlora.engine.metrics.plain_value`).
    - State: the attribute ``summary``, the content of ``summary.json``; empty until
      training ends, and in all processes but the main one.
    - Priority: VERY_LOW, after the checkpoint is written.

    Args:
        merge (bool): Whether to write the merged model (``merged.pth`` with a stock
            config ``merged.py``) into the working directory. Defaults to True. A model
            that can't be merged is no error: the summary and the log say why.

    Raises:
        ValueError: Before the training, if another ``merged.py`` stands there.
        Exception: What the test has raised, after the merged model and the summary are
            written.
    """

    priority = 'VERY_LOW'

    def __init__(self, merge: bool = True) -> None:
        self.merge = merge
        self.summary: dict = {}

    def before_train(self, runner: Runner) -> None:
        if self.merge and is_main_process():
            config_beside(_merged_file(runner))

    def after_train(self, runner: Runner) -> None:
        loop = runner.test_loop
        failure = None
        try:
            metrics = loop.run() if loop is not None else {}
        except Exception as error:
            failure = error
            metrics = _stored_metrics(runner)
        if is_main_process():
            results = {f'test {name}': plain_value(v) for name, v in metrics.items()}
            if failure is not None:
                results['test'] = f'failed: {type(failure).__name__}: {failure}'
            self.summary = results | self._describe(runner)
            _write(runner, self.summary)
        if failure is not None:
            raise failure

    def _describe(self, runner: Runner) -> dict:
        model = unwrapped(runner.model)
        hub = runner.message_hub
        checkpoint = hub.get_info('last_ckpt')
        summary = {**_sizes(model), 'checkpoint': checkpoint}
        for key, name in (('best_score', 'best validation'), ('best_ckpt', 'its file')):
            if (value := hub.get_info(key)) is not None:
                summary[name] = plain_value(value)
        if self.merge and checkpoint:
            summary['merged model'] = _merge(runner, model, checkpoint)
        return summary


def _stored_metrics(runner: Runner) -> dict:
    """The metrics of a test in which a later hook has failed, for example the logger."""
    hub = runner.message_hub
    stored = {name: buffer.current() for name, buffer in hub.log_scalars.items()}
    return {
        name.removeprefix('test/'): value
        for name, value in (stored | hub.runtime_info).items()
        if name.startswith('test/')
    }


def _write(runner: Runner, summary: dict) -> None:
    path = Path(runner.work_dir) / 'summary.json'
    with atomic_write(path) as stream:
        stream.write(f'{json.dumps(summary, indent=2)}\n'.encode())
    runner.logger.info('\n'.join(_lines(runner, summary)), extra=ON_CONSOLE)


def _lines(runner: Runner, summary: dict) -> list[str]:
    """The summary for people: results, then which file is which."""
    results = {name: v for name, v in summary.items() if name not in FILES}
    width = max(map(len, results))
    lines = [f'  {name:<{width}}  {_text(name, v)}' for name, v in results.items()]
    files = _files(runner, summary)
    width = max(map(len, files))
    return [
        'Summary',
        *lines,
        f'Files in {shown_path(runner.work_dir)}',
        *(f'  {name:<{width}}  {meaning}' for name, meaning in files.items()),
    ]


def _files(runner: Runner, summary: dict) -> dict[str, str]:
    """What each file of the working directory is; a file may be the last and the best."""
    last, best = summary.get('checkpoint'), summary.get('its file')
    merged = summary.get('merged model', '')
    files: dict[str, str] = {}

    def add(path: str | Path, meaning: str) -> None:
        folder = Path(runner.work_dir).resolve()
        real = Path(path).resolve()
        inside = real.is_relative_to(folder)
        name = str(real.relative_to(folder) if inside else path)
        files[name] = f'{files[name]}; {meaning}' if name in files else meaning

    if last:
        add(last, f'last checkpoint ({_done(runner)}), for --resume')
    if best:
        add(best, f'best on validation ({_text("", summary["best validation"])})')
    if merged and not merged.startswith('none'):
        source = Path(str(last)).name
        add(merged, f'plain model with config merged.py, merged from {source}')
    add(Path(runner.work_dir, 'summary.json'), 'this summary')
    if runner.logger.log_file:
        add(runner.logger.log_file, 'the whole log')
    return files


def _done(runner: Runner) -> str:
    if isinstance(runner.train_loop, IterBasedTrainLoop):
        return f'iteration {runner.iter}'
    return f'epoch {runner.epoch}'


def _sizes(model: nn.Module) -> dict:
    total = sum(p.numel() for p in model.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    sizes: dict = {
        'trained parameters': trained,
        SHARE: trained / total,
    }
    for wrapper in find_wrappers(model):
        if isinstance(wrapper, DMLoRAModel):
            sizes['active branches'] = (
                f'{wrapper.num_branches} of {wrapper.total_branches}'
            )
        if isinstance(wrapper, LowRankModel):
            sizes[SCALES] = wrapper.scales()
    return sizes


def _merge(runner: Runner, model: nn.Module, checkpoint: str) -> str:
    """Merge the weights of a checkpoint (with EMA: the averaged ones).

    Returns:
        str: Where the merged model is, or why there is none.
    """
    out = _merged_file(runner)
    meta = getattr(runner.train_dataloader.dataset, 'metainfo', None)
    try:
        trained = copy.deepcopy(model)
        trained.load_state_dict(load_checkpoint(checkpoint)['state_dict'])
        save_merged(trained, runner.cfg, out, meta)
    except ValueError as error:
        return f'none: {error}'
    except Exception as error:
        runner.logger.error(
            f'The model is trained and saved, but not merged:\n{traceback.format_exc()}'
        )
        return f'none: {type(error).__name__}: {error}'
    return str(out)


def _merged_file(runner: Runner) -> Path:
    return Path(runner.work_dir) / 'merged.pth'


def _text(name: str, value: object) -> str:
    if name == SCALES and isinstance(value, dict):
        values = list(value.values())
        return (
            f'{min(values):.4g} to {max(values):.4g}, '
            f'mean {sum(values) / len(values):.4g}'
        )
    if isinstance(value, float):
        return f'{100 * value:.2f} %' if name == SHARE else f'{value:.2f}'
    if isinstance(value, list | dict):
        return f'({len(value)} values, see the file)'
    return f'{value:,}' if type(value) is int else str(value)
