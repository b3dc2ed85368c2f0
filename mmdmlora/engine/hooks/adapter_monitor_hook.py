"""Active branches and scales in the log."""

from __future__ import annotations

from statistics import fmean

from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.models.methods.dmlora_model import DMLoRAModel
from mmdmlora.models.methods.low_rank_model import LowRankModel
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS


@HOOKS.register_module()
class AdapterMonitorHook(Hook):
    """Log the active branches and the scales of low-rank adapters.

    Models without low-rank adapters are passed over.

    - When: ``before_train_epoch`` (number of branches and mean scale, which every log
      line of the epoch shows) and ``after_train_epoch`` (the scale of each layer, for the
      visualizer's backends only).
    - Touches: the message hub (``train/branches``, ``train/scale``) and the visualizer
      (``scale/<layer>``). Both calls read the scales from the device.
    - State: none.
    - Priority: LOW, after the hooks that prune.
    """

    priority = 'LOW'

    def before_train_epoch(self, runner: Runner) -> None:
        for model in _models(runner):
            if isinstance(model, DMLoRAModel):
                runner.message_hub.update_scalar('train/branches', model.num_branches)
            runner.message_hub.update_scalar(
                'train/scale', fmean(model.scales().values())
            )

    def after_train_epoch(self, runner: Runner) -> None:
        for model in _models(runner):
            scales = {f'scale/{name}': s for name, s in model.scales().items()}
            runner.visualizer.add_scalars(scales, step=runner.epoch + 1)


def _models(runner: Runner) -> list[LowRankModel]:
    return [m for m in find_wrappers(runner.model) if isinstance(m, LowRankModel)]
