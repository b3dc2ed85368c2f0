"""Any model in one line."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from mmengine.logging import print_log
from torch import nn

from mmdmlora.quiet_log import quiet_log

from .methods.adapter_model import AdapterModel
from .methods.bitfit_model import BitFitModel
from .methods.dmlora_model import DMLoRAModel
from .methods.full_finetune_model import FullFinetuneModel
from .methods.linear_probe_model import LinearProbeModel
from .methods.lora_model import LoRAModel
from .methods.repadapter_model import RepAdapterModel
from .methods.vpt_model import VPTModel
from .named_parts import find_parts
from .peft_model import PEFTModel

# By the names of their configs, with what these set beside the defaults.
METHODS: dict[str, tuple[type[PEFTModel], dict[str, Any]]] = {
    'dmlora': (DMLoRAModel, dict(learn_scale=True)),
    'dmlora-fixed-scale': (DMLoRAModel, {}),
    'lora': (LoRAModel, {}),
    'repadapter': (RepAdapterModel, {}),
    'adapter': (AdapterModel, {}),
    'vpt-deep': (VPTModel, dict(deep=True)),
    'vpt-shallow': (VPTModel, dict(deep=False)),
    'bitfit': (BitFitModel, {}),
    'linear': (LinearProbeModel, {}),
    'full': (FullFinetuneModel, {}),
}


def wrap(
    model: nn.Module,
    method: str = 'dmlora',
    train_also: str | Iterable[str] = (),
    **options: Any,
) -> PEFTModel:
    """Wrap a model of timm, torchvision, transformers or any other library.

    The model keeps its weights and is called as before: arguments and outputs pass
    through. It is adapted in place, not copied: after wrapping, use the wrapper. All of
    it is frozen, except for what the method trains and what ``train_also`` names.

    Args:
        model (nn.Module): The model, a whole classifier too.
        method (str): A method's name: ``dmlora`` (with trained scales),
            ``dmlora-fixed-scale``, ``lora``, ``repadapter``, ``adapter``, ``vpt-deep``,
            ``vpt-shallow``, ``bitfit``, ``linear`` or ``full``. Defaults to ``dmlora``.
        train_also (str | Iterable[str]): Paths of submodules or parameters that are
            trained as well, such as the classifier's ``head``. Defaults to none.
        **options: Options of the method's class: ``rank``, ``num_branches``,
            ``targets`` and others.

    Returns:
        PEFTModel: The wrapper, in training mode. Its ``merge()`` gives a copy of the
        model: the same class with the same names of tensors, and plain layers.

    Raises:
        ValueError: If a name or an option is unknown or out of range, the model is
            wrapped already, or the method can't adapt it. The model then trains what it
            trained before.

    Note:
        Weights are on the model's device. A wrapper on a model in half precision keeps
        low-rank adapters in single precision.

    Example:
        >>> net = timm.create_model('vit_small_patch14_dinov2', num_classes=3)
        >>> model = mmdmlora.wrap(net, 'dmlora', train_also=['head'], rank=8)
        >>> optimizer = torch.optim.AdamW(model.parameter_groups(), lr=1e-3)
        >>> stock = model.merge()
    """
    if not isinstance(model, nn.Module):
        raise ValueError(
            f'wrap takes a torch.nn.Module, got {model!r}: build the model first, for '
            "example by timm.create_model('vit_small_patch14_dinov2', num_classes=3)."
        )
    if method not in METHODS:
        raise ValueError(
            f'method={method!r} is unknown: use one of {", ".join(METHODS)}.'
        )
    wrapper, settings = METHODS[method]
    settings = {**settings, **options}
    _check_options(wrapper, method, settings)
    names = [train_also] if isinstance(train_also, str) else list(train_also)
    find_parts(names, dict(model.named_parameters()), type(model).__name__)
    # Only what isn't trained may be rounded.
    frozen_dtype = settings.pop('frozen_dtype', None)
    wrapper.check_frozen_dtype(model, frozen_dtype)
    trained = [(p, p.requires_grad) for p in model.parameters()]
    try:
        with quiet_log():
            wrapped = wrapper(model, **settings)
    except Exception:
        for parameter, requires_grad in trained:
            parameter.requires_grad_(requires_grad)
        raise
    if names:
        wrapped.train_also(names)
    if frozen_dtype is not None:
        wrapped.cast_frozen(frozen_dtype)
    print_log(wrapped.summary(), logger='current')
    return wrapped


def _check_options(wrapper: type, method: str, settings: dict[str, Any]) -> None:
    known = list(inspect.signature(wrapper).parameters)[1:]
    for name in settings.keys() - known:
        close = get_close_matches(name, known, n=1)
        hint = f'did you mean {close[0]!r}? ' if close else ''
        raise ValueError(
            f'method {method!r} has no option {name!r}: {hint}It has '
            f'{", ".join(known) or "none"}.'
        )
