"""Refusing to resume from a checkpoint that another run wrote."""

from __future__ import annotations

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmdmlora.models.peft_model import describe_misfit
from mmdmlora.registry import HOOKS
from mmdmlora.utils import unwrapped

RECORD = 'launch'


def check_fits(model: nn.Module, state_dict: dict[str, Tensor], source: str) -> None:
    """Refuse a state dict that leaves a tensor of the model as it is, or has others.

    mmengine only warns about both, and goes on with random values.

    Args:
        model (nn.Module): The model, as a :class:`~mmdmlora.models.PEFTModel` inside it
            reports its state: without what is frozen.
        state_dict (dict[str, Tensor]): What a checkpoint holds.
        source (str): What to call the checkpoint in the message.

    Raises:
        ValueError: Naming the first tensors that don't fit.
    """
    expected = model.state_dict()
    faults = describe_misfit(state_dict, expected, expected)
    if faults:
        raise ValueError(
            f'{source} does not fit the config: {faults}. It was made with another '
            'method, rank, number of branches, target, backbone or number of classes: '
            'use the config that it was trained with.'
        )


@HOOKS.register_module()
class ResumeCheckHook(Hook):
    """Resume only what can go on exactly as if it had never stopped.

    A run with another number of processes, batch size or number of images has other
    batches and another number of steps in an epoch, and the schedules, which a resumed
    run takes from the checkpoint, no longer fit: mmengine goes on without a word. With
    another seed, it shuffles with one and does everything else with the other. A
    checkpoint of another model, which mmengine loads as far as it goes, is refused too.

    When: ``before_save_checkpoint`` and, in a run that resumes,
    ``after_load_checkpoint``.

    Touches: adds ``meta['launch']`` to the checkpoint. Checkpoints without it are
    resumed unchecked but for the model.

    State: none.

    Priority: NORMAL.

    Raises:
        ValueError: Naming what differs, on resuming.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        checkpoint['meta'][RECORD] = _launch(runner)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        if not runner._resume:  # as in mmengine's EMAHook: there is no public name
            return
        ours = _launch(runner)
        theirs = checkpoint.get('meta', {}).get(RECORD, ours)
        if theirs != ours:
            names = [name for name in ours if theirs.get(name) != ours[name]]
            raise ValueError(
                'the checkpoint is of a run with '
                f'{", ".join(f"{name}={theirs.get(name)}" for name in names)}, but this '
                f'one has {", ".join(f"{name}={ours[name]}" for name in names)}. Resume '
                'with the same, or start anew from its weights: load_from=FILE without '
                '--resume.'
            )
        model = unwrapped(runner.model)
        check_fits(model, checkpoint['state_dict'], 'the checkpoint to resume from')


def _launch(runner: Runner) -> dict:
    """What decides about the batches of a run."""
    loader = runner.train_dataloader
    return dict(
        processes=get_world_size(),
        batch_size=loader.batch_size,
        images=len(loader.dataset) if hasattr(loader.dataset, '__len__') else None,
        seed=(runner.cfg.get('randomness') or {}).get('seed'),
    )
