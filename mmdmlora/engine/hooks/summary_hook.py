"""What a run ends with."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import nn

from mmdmlora.engine.export import config_beside, save_merged
from mmdmlora.io import atomic_write, load_checkpoint
from mmdmlora.models.methods.dmlora_model import DMLoRAModel
from mmdmlora.models.methods.low_rank_model import LowRankModel
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS
from mmdmlora.utils import unwrapped

SHARE = 'share of all parameters'


@HOOKS.register_module()
class SummaryHook(Hook):
    """Test the model once when training ends, merge it and print the results.

    The weights of the last epoch are tested, not those of the epoch that happens to
    be best on the test set.

    - When: ``after_train``; ``before_train`` looks whether the merged model may be
      written.
    - Touches: runs the test loop, if the config has one; writes ``summary.json`` and the
      merged model, made from the last checkpoint, into ``work_dir``.
    - State: none.
    - Priority: VERY_LOW, after the checkpoint is written.

    Args:
        merge (bool): Whether to write the merged model (``merged.pth`` with a stock
            config ``merged.py``) into the working directory. Defaults to True.

    Raises:
        ValueError: Before the training, if another ``merged.py`` stands there.
    """

    priority = 'VERY_LOW'

    def __init__(self, merge: bool = True) -> None:
        self.merge = merge

    def before_train(self, runner: Runner) -> None:
        if self.merge and is_main_process():
            config_beside(_merged_file(runner))

    def after_train(self, runner: Runner) -> None:
        loop = runner.test_loop
        metrics = loop.run() if loop is not None else {}
        if not is_main_process():
            return
        model = unwrapped(runner.model)
        checkpoint = runner.message_hub.get_info('last_ckpt')
        summary: dict = {f'test {name}': value for name, value in metrics.items()}
        summary |= _sizes(model)
        summary['checkpoint'] = checkpoint
        for key, name in (('best_score', 'best validation'), ('best_ckpt', 'its file')):
            if (value := runner.message_hub.get_info(key)) is not None:
                summary[name] = value
        if self.merge and checkpoint:
            summary['merged model'] = _merge(runner, model, checkpoint)
        path = Path(runner.work_dir) / 'summary.json'
        with atomic_write(path) as stream:
            stream.write(f'{json.dumps(summary, indent=2)}\n'.encode())
        width = max(map(len, summary))
        lines = [f'  {name:<{width}}  {_text(name, v)}' for name, v in summary.items()]
        runner.logger.info('\n'.join([f'Summary ({path})', *lines]))


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
            sizes['scales'] = wrapper.scales()
    return sizes


def _merge(runner: Runner, model: nn.Module, checkpoint: str) -> str:
    """Merge the weights of a checkpoint (with EMA: the averaged ones)."""
    state = load_checkpoint(checkpoint)
    trained = copy.deepcopy(model)
    trained.load_state_dict(state['state_dict'])
    out = _merged_file(runner)
    meta = getattr(runner.train_dataloader.dataset, 'metainfo', None)
    try:
        save_merged(trained, runner.cfg, out, meta)
    except ValueError as error:
        return f'none: {error}'
    return str(out)


def _merged_file(runner: Runner) -> Path:
    return Path(runner.work_dir) / 'merged.pth'


def _text(name: str, value: object) -> str:
    if isinstance(value, dict):
        values = list(value.values())
        return (
            f'{min(values):.4g} to {max(values):.4g}, '
            f'mean {sum(values) / len(values):.4g}'
        )
    if isinstance(value, float):
        return f'{100 * value:.2f} %' if name == SHARE else f'{value:.2f}'
    return f'{value:,}' if isinstance(value, int) else str(value)
