"""Active branches and scales in the log."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.hooks.hook import DATA_BATCH
from mmengine.runner import IterBasedTrainLoop, Runner
from mmengine.visualization import LocalVisBackend

from mmdmlora.models.methods.dmlora_model import DMLoRAModel
from mmdmlora.models.methods.low_rank_model import LowRankModel
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS

SCALES_FILE = 'scales.json'


@HOOKS.register_module()
class AdapterMonitorHook(Hook):
    """Log the active branches and the scales of low-rank adapters.

    Models without low-rank adapters are passed over.

    - When: ``before_train_epoch`` (number of branches and mean scale, which every log
      line of the epoch shows) and ``after_train_epoch`` (the scale of each layer, for the
      visualizer's backends only). In a loop by iterations the same in
      ``before_train_iter`` and ``after_train_iter`` of every ``interval``-th iteration.
    - Touches: the message hub (``train/branches``, ``train/scale``) and the visualizer's
      backends (``scale/<layer>``), of which the local one gets ``scales.json`` beside
      ``scalars.json``. Both calls read the scales from the device.
    - State: none.
    - Priority: LOW, after the hooks that prune.

    Args:
        interval (int): In a loop by iterations, log every so many of them: as often as
            the ``LoggerHook``. Defaults to 50.
    """

    priority = 'LOW'

    def __init__(self, interval: int = 50) -> None:
        self.interval = interval

    def before_train_epoch(self, runner: Runner) -> None:
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            self._log_means(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            self._log_scales(runner, runner.epoch + 1)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: DATA_BATCH = None
    ) -> None:
        if self._is_due(runner):
            self._log_means(runner)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: DATA_BATCH = None,
        outputs: dict | None = None,
    ) -> None:
        if self._is_due(runner):
            self._log_scales(runner, runner.iter + 1)

    def _is_due(self, runner: Runner) -> bool:
        by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
        return by_iteration and self.every_n_train_iters(runner, self.interval)

    @staticmethod
    def _log_means(runner: Runner) -> None:
        for model in _models(runner):
            if isinstance(model, DMLoRAModel):
                runner.message_hub.update_scalar('train/branches', model.num_branches)
            runner.message_hub.update_scalar(
                'train/scale', fmean(model.scales().values())
            )

    @staticmethod
    def _log_scales(runner: Runner, step: int) -> None:
        for model in _models(runner):
            scales = {f'scale/{name}': s for name, s in model.scales().items()}
            _write(runner, scales, step)


def _models(runner: Runner) -> list[LowRankModel]:
    return [m for m in find_wrappers(runner.model) if isinstance(m, LowRankModel)]


@master_only
def _write(runner: Runner, scales: dict[str, float], step: int) -> None:
    """Give scales to the backends; the local one's go into a file of their own.

    Who reads ``scalars.json`` takes a line without a learning rate for a validation.
    """
    for name in runner.visualizer._vis_backends:
        backend = runner.visualizer.get_backend(name)
        if isinstance(backend, LocalVisBackend):
            file = Path(runner.log_dir, 'vis_data', SCALES_FILE)
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open('a') as stream:
                stream.write(f'{json.dumps(scales | {"step": step})}\n')
        else:
            backend.add_scalars(scales, step=step)
