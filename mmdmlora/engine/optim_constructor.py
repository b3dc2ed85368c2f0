"""Parameter groups for parameter-efficient training."""

from __future__ import annotations

from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmdmlora.models.peft_model import find_wrappers
from mmdmlora.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmdmlora.utils import quiet


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PEFTOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Give an optimizer the trained parameters only, and no decay to the scales.

    mmengine's default constructor also hands over the frozen parameters, or makes a
    group for each parameter, with which PyTorch's batched optimizer kernels lose their
    point. Here parameters with equal settings share a group.

    Args:
        optim_wrapper_cfg (dict): As in mmengine.
        paramwise_cfg (dict, optional): As in mmengine. Unless it has a custom key
            ``.log_scale``, the scales get no weight decay.

    Raises:
        ValueError: If nothing in the model is trained, the optimizer is unknown, or
            distributed training lacks ``find_unused_parameters=True`` where it is needed.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        paramwise_cfg = dict(paramwise_cfg or {})
        paramwise_cfg['custom_keys'] = {
            '.log_scale': dict(weight_decay=0.0),
            **paramwise_cfg.get('custom_keys', {}),
        }
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        name = self.optimizer_cfg.get('type')
        with OPTIMIZERS.switch_scope_and_registry(None) as registry:
            if isinstance(name, str) and registry.get(name) is None:
                raise ValueError(
                    f'optim_wrapper.optimizer.type={name} is no optimizer: check the '
                    'spelling (AdamW, SGD), or import its module with custom_imports.'
                )

    def __call__(self, model: nn.Module) -> OptimWrapper:
        is_parallel = isinstance(model, DistributedDataParallel)
        if is_parallel and not model.find_unused_parameters:
            for wrapper in find_wrappers(model):
                if wrapper.needs_find_unused_parameters:
                    raise ValueError(
                        f'{type(wrapper).__name__} trains other parameters in other '
                        'steps: set find_unused_parameters=True in the config (or in '
                        'its model_wrapper_cfg).'
                    )
        return super().__call__(model)

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any
    ) -> None:
        if prefix:
            super().add_params(params, module, prefix, **kwargs)
            return
        singles: list[dict] = []
        with quiet():
            super().add_params(singles, module, **kwargs)
        if not singles:
            raise ValueError(f'no parameter of {type(module).__name__} is trained.')
        groups: dict[str, dict] = {}
        for single in singles:
            settings = {k: v for k, v in single.items() if k != 'params'}
            group = groups.setdefault(repr(settings), {'params': [], **settings})
            group['params'] += single['params']
        params.extend(groups.values())
