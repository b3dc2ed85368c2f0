"""Parameter groups for parameter-efficient training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from mmengine.optim import DefaultOptimWrapperConstructor, OptimWrapper
from mmengine.registry import OPTIMIZERS
from mmpretrain.engine.optimizers import LearningRateDecayOptimWrapperConstructor
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmdmlora.models.layers.inserted_layer import InsertedLayer
from mmdmlora.models.layers.mix_lora import MixLoRA
from mmdmlora.models.peft_model import PEFTModel, find_wrappers
from mmdmlora.quiet_log import quiet_log
from mmdmlora.registry import OPTIM_WRAPPER_CONSTRUCTORS

from .adapter_rates import check_rate_options, keep_branch_rates, multiply_rates

SCALE = 'log_scale'
LAYER_DECAY = 'layer_decay_rate'
# What mmpretrain's layer-wise learning rates know nothing of.
NOT_WITH_LAYER_DECAY = (
    'bias_lr_mult',
    'dwconv_decay_mult',
    'dcn_offset_lr_mult',
    'bypass_duplicate',
)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class PEFTOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    r"""Give an optimizer the trained parameters only, and no decay to the scales.

    mmengine's default constructor also hands over the frozen parameters, or makes a
    group for each parameter, with which PyTorch's batched optimizer kernels lose their
    point. Here parameters with equal settings share a group.

    All options of mmengine's constructor mean what they mean without a wrapper. A custom
    key is looked for in the full name of a parameter and in its name without what
    wrappers add: ``backbone.layers.0.attn`` reaches what was inserted into
    ``backbone.module.layers.0.attn``. As in mmengine the longest key counts.

    The scales get no weight decay, whatever reaches them, but for a custom key with
    ``log_scale`` in it that sets ``decay_mult`` or ``weight_decay``.

    Two options for studies multiply what all others give:

    ``branch_lr``: a layer draws one of its n active branches, so each learns in a share
    1/n of the steps. The rate of DMLoRA's branches becomes

    .. math::
        \eta_n = f(n)\, \eta, \qquad f(n) = 1 \text{ (equal)},\ \sqrt n
        \text{ (sqrt)},\ n \text{ (linear)}.

    With ``linear`` the mean of the branches, which inference uses, moves as far in a step
    of SGD as one branch would with :math:`\eta`; ``sqrt`` is between. When branches are
    pruned the rate is multiplied by :math:`f(n') / f(n)`, and a scheduler goes on from
    there; a rate that it ends with (``eta_min``) is the same for all parameters. Each
    group of branches has its n as ``active_branches``, so a resumed run goes on exactly.
    With ``draws='sample'`` nearly every branch gets a gradient in every step and there is
    nothing to make up for in the steps of Adam: refused.

    ``up_lr_ratio``: in LoRA and DMLoRA the rate of up matrices B is this many times that
    of down matrices A (LoRA+, its :math:`\lambda = \eta_B / \eta_A`, 16 there).

    Args:
        optim_wrapper_cfg (dict): As in mmengine.
        paramwise_cfg (dict, optional): As in mmengine. With ``layer_decay_rate`` as in
            mmpretrain's ``LearningRateDecayOptimWrapperConstructor``, and ``lr_mult`` of
            a custom key multiplies the layer's rate. ``branch_lr`` is ``equal`` by
            default, ``up_lr_ratio`` 1.

    Raises:
        ValueError: If nothing in the model is trained, the optimizer is unknown,
            ``layer_decay_rate`` comes without a ``weight_decay`` or with an option that
            can't be combined with it, ``branch_lr`` or ``up_lr_ratio`` is unknown, out of
            range or has nothing to act on, ``branch_lr`` meets draws of each image, SGD
            is fused and has momentum where branches are drawn, or distributed training
            lacks ``find_unused_parameters=True`` where it is needed.

    Source:
        LoRA+ (`arXiv:2402.12354 <https://arxiv.org/abs/2402.12354>`_); ``branch_lr`` is
        this project's own.
    """

    def __init__(
        self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None
    ) -> None:
        # mmengine puts all parameters into one group where there are no options.
        paramwise_cfg = {'custom_keys': {}, **_plain(paramwise_cfg or {})}
        super().__init__(_plain(optim_wrapper_cfg), paramwise_cfg)
        name = self.optimizer_cfg.get('type')
        with OPTIMIZERS.switch_scope_and_registry(None) as registry:
            if isinstance(name, str) and registry.get(name) is None:
                raise ValueError(
                    f'optim_wrapper.optimizer.type={name} is no optimizer: check the '
                    'spelling (AdamW, SGD), or import its module with custom_imports.'
                )
        if LAYER_DECAY in paramwise_cfg and self.base_wd is None:
            raise ValueError(
                f'paramwise_cfg.{LAYER_DECAY} needs '
                'optim_wrapper.optimizer.weight_decay: set it, to 0.0 for none.'
            )
        without_effect = [key for key in NOT_WITH_LAYER_DECAY if key in paramwise_cfg]
        if LAYER_DECAY in paramwise_cfg and without_effect:
            raise ValueError(
                f'paramwise_cfg.{without_effect[0]} has no effect with {LAYER_DECAY}: '
                'leave it out, or set the parameters by custom_keys.'
            )
        check_rate_options(paramwise_cfg, self.base_lr)

    def __call__(self, model: nn.Module) -> OptimWrapper:
        settings = self.optimizer_cfg
        leaves_out = any(w.needs_find_unused_parameters for w in find_wrappers(model))
        is_sgd = settings.get('type') == 'SGD' and settings.get('momentum')
        if leaves_out and is_sgd and settings.get('fused'):
            raise ValueError(
                "PyTorch's fused SGD can't begin the momentum of parameters that earlier "
                'steps left out, such as branches that were not drawn: set '
                'optim_wrapper.optimizer.fused=None, or use AdamW.'
            )
        is_parallel = isinstance(model, DistributedDataParallel)
        if is_parallel and not model.find_unused_parameters:
            for wrapper in find_wrappers(model):
                if wrapper.needs_find_unused_parameters:
                    raise ValueError(
                        f'{type(wrapper).__name__} trains other parameters in other '
                        'steps: set find_unused_parameters=True in the config (or in '
                        'its model_wrapper_cfg).'
                    )
        wrapper = super().__call__(model)
        keep_branch_rates(wrapper.optimizer, model)
        return wrapper

    def add_params(
        self, params: list[dict], module: nn.Module, prefix: str = '', **kwargs: Any
    ) -> None:
        """Add the groups of a whole model."""
        names = {id(p): (full, own) for p, full, own in _named_parameters(module)}
        singles = self._singles(module, names)
        if not singles:
            raise ValueError(f'no parameter of {type(module).__name__} is trained.')
        scales = {
            id(m.log_scale)
            for m in module.modules()
            if isinstance(m, MixLoRA) and m.learn_scale
        }
        places = multiply_rates(singles, module, self.paramwise_cfg, self.base_lr)
        groups: dict[tuple, dict] = {}
        for single in singles:
            (parameter,) = single['params']
            if id(parameter) in scales:
                single['weight_decay'] = self._scale_decay(names[id(parameter)])
            settings = {k: v for k, v in single.items() if k != 'params'}
            key = places.get(id(parameter)), repr(settings)
            group = groups.setdefault(key, {'params': [], **settings})
            group['params'].append(parameter)
        params.extend(groups.values())

    def _singles(self, model: nn.Module, names: dict[int, tuple[str, str]]) -> list[dict]:
        """One group for each parameter, made by mmengine or mmpretrain."""
        # With each parameter's full name as a key theirs is the one that was found here.
        custom_keys = {
            both[0]: self.paramwise_cfg['custom_keys'][key]
            for both in names.values()
            if (key := self._find_key(both)) is not None
        }
        options = dict(self.paramwise_cfg, custom_keys=custom_keys)
        config = dict(self.optim_wrapper_cfg, optimizer=self.optimizer_cfg)
        singles: list[dict] = []
        with quiet_log():
            if LAYER_DECAY not in options:
                DefaultOptimWrapperConstructor(config, options).add_params(singles, model)
                return singles
            LearningRateDecayOptimWrapperConstructor(config, options).add_params(
                singles, model, get_layer_depth=_depth_function(model)
            )
        for single in singles:
            single['lr'] *= single.get('lr_mult', 1.0)
            # So that parameters of a layer share a group.
            del single['param_name']
        return singles

    def _find_key(self, names: tuple[str, str], part: str = '') -> str | None:
        """The longest custom key in one of the names; of two the first by alphabet."""
        keys = sorted(self.paramwise_cfg['custom_keys'])
        fitting = [k for k in keys if part in k and any(k in f'.{n}' for n in names)]
        return max(fitting, key=len, default=None)

    def _scale_decay(self, names: tuple[str, str]) -> float:
        key = self._find_key(names, SCALE)
        settings = {} if key is None else self.paramwise_cfg['custom_keys'][key]
        decay = (self.base_wd or 0.0) * settings.get('decay_mult', 0.0)
        return settings.get('weight_decay', decay)


def _plain(config: dict) -> dict:
    """Without ConfigDicts, which torch.compile doesn't take for parameter groups."""
    return config.to_dict() if hasattr(config, 'to_dict') else dict(config)


def _named_parameters(
    module: nn.Module, full: str = '', own: str = ''
) -> Iterator[tuple[nn.Parameter, str, str]]:
    """Each parameter, its full name, and its name without what wrappers add."""
    for name, parameter in module.named_parameters(recurse=False):
        yield parameter, f'{full}{name}', f'{own}{name}'
    for name, child in module.named_children():
        is_added = (isinstance(module, PEFTModel) and name == 'module') or (
            isinstance(module, InsertedLayer) and name == 'original'
        )
        below = own if is_added else f'{own}{name}.'
        yield from _named_parameters(child, f'{full}{name}.', below)


def _depth_function(model: nn.Module) -> Callable[[str], tuple[int, int]]:
    """What tells the depth of a parameter's layer by its name.

    Raises:
        ValueError: If the model has neither such a method nor a wrapped backbone.
    """
    if hasattr(model, 'get_layer_depth'):
        return model.get_layer_depth
    for name, module in model.named_modules():
        if isinstance(module, PEFTModel):
            return partial(module.get_layer_depth, prefix=f'{name}.')
    raise ValueError(
        f'{type(model).__name__} has no get_layer_depth, which layer-wise learning rates '
        f'need: leave out paramwise_cfg.{LAYER_DECAY}.'
    )
