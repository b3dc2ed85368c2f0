"""Checkpoints that ``torch.load(weights_only=True)`` accepts without any allow-list."""

from mmengine.hooks import Hook

from mmdmlora.io import from_plain, to_plain
from mmdmlora.registry import HOOKS

STATE_DICTS = ('state_dict', 'ema_state_dict')


@HOOKS.register_module()
class PlainCheckpointHook(Hook):
    """Write checkpoints without pickled objects, and restore those on load.

    mmengine pickles its history buffers and NumPy values with a checkpoint, which a
    current PyTorch refuses to load. With this hook every file loads with plain
    ``torch.load(path, weights_only=True)``, and after a resume the histories, and so
    the smoothed values in the log, equal the saved ones bit for bit.

    - When: ``before_save_checkpoint`` and ``after_load_checkpoint``.
    - Touches: every entry of the checkpoint but the state dicts of the model and its
      average, which hold tensors already. Live objects of the runner aren't modified.
    - State: none. Without the hook such a file still resumes; mmengine then skips the
      histories with a warning.
    - Priority: LOWEST, so that what other hooks put into the checkpoint becomes plain
      too. On load the other hooks run first and see the plain form.
    """

    priority = 'LOWEST'

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        rest = {key: checkpoint.pop(key) for key in [*checkpoint] if _is_rest(key)}
        checkpoint.update(to_plain(rest))

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        for key in filter(_is_rest, checkpoint):
            checkpoint[key] = from_plain(checkpoint[key])


def _is_rest(key: str) -> bool:
    return key not in STATE_DICTS
