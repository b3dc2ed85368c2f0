"""Compiled training forwards."""

from __future__ import annotations

from typing import Any

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmdmlora.engine.compiling import check_compiler
from mmdmlora.engine.unwrapped_model import unwrapped
from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import HOOKS


@HOOKS.register_module()
class CompileHook(Hook):
    """Compile the training forwards of wrapped backbones.

    Drawing, hooks, the head and the optimizer stay as they are, and so does evaluation.
    Of a model without a wrapper the backbone is compiled, or all of it if it has none.

    - When: ``before_train``.
    - Touches: :meth:`~mmdmlora.models.execution.Execution.compile_training` of each
      wrapper. Names in checkpoints stay.
    - State: none.
    - Priority: NORMAL.

    Args:
        **options: Those of ``torch.compile``, such as ``mode``.

    Raises:
        ValueError: Before the first step, if nothing can be compiled here.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options

    def before_train(self, runner: Runner) -> None:
        check_compiler(get_device(), **self.options)
        model = unwrapped(runner.model)
        wrappers = find_wrappers(model)
        for wrapper in wrappers:
            wrapper.compile_training(**self.options)
        if not wrappers:
            getattr(model, 'backbone', model).compile(**self.options)
        runner.logger.info('The first steps take longer: they compile the backbone.')
