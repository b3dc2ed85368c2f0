"""The wrapper that every method derives from."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdmlora.registry import MODELS
from mmdmlora.utils import quiet

from .fingerprint import fingerprint, first_difference
from .pretrained import load_pretrained

FINGERPRINT = 'backbone_fingerprint'


class PEFTModel(BaseModule):
    """A frozen backbone with what a method trains.

    A method derives from this class, calls ``super().__init__(module)``, which builds,
    loads and freezes the backbone, inserts its modules into :attr:`module` or unfreezes
    parameters there, and ends with :meth:`_register`. One that can be merged implements
    :meth:`_fold`.

    Args:
        module (dict): Config of the backbone. An ``init_cfg`` of type ``Pretrained`` is
            loaded completely or not at all, see
            :func:`~mmdmlora.models.pretrained.load_pretrained`.

    Attributes:
        module (nn.Module): The backbone. Adapted layers keep their paths.

    Shape:
        As the backbone's.

    Raises:
        ValueError: If the backbone's checkpoint is missing or doesn't fit.

    Note:
        - :meth:`state_dict` holds what is trained, the adapters' buffers and a
          fingerprint of the frozen weights. Loading refuses a state of another method,
          shape or frozen backbone with a ValueError, before anything is changed.
          A state without any key of this wrapper is left to the caller's strictness.
        - Batch norms of the frozen backbone stay in evaluation mode: their statistics
          are part of what is frozen.
        - Attributes that the wrapper lacks are looked up on the backbone.
        - On the meta device nothing is initialised or loaded.
    """

    def __init__(self, module: dict) -> None:
        super().__init__()
        config = copy.deepcopy(module)
        init_cfg = config.get('init_cfg')
        pretrained = isinstance(init_cfg, dict) and init_cfg.get('type') == 'Pretrained'
        if pretrained:
            config['init_cfg'] = None
        self.module = MODELS.build(config)
        if not any(p.is_meta for p in self.module.parameters()):
            with quiet():
                self.module.init_weights()
            if pretrained:
                load_pretrained(
                    self.module, init_cfg['checkpoint'], init_cfg.get('prefix')
                )
        self.module.requires_grad_(False)
        self._adapters: dict[str, nn.Module] = {}
        self._kept: frozenset[str] = frozenset()

    @property
    def adapters(self) -> dict[str, nn.Module]:
        """The inserted modules by name: the path of the layer that each one adapts."""
        return self._adapters

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that the method trains, for a plain PyTorch optimizer."""
        return (p for p in self.parameters() if p.requires_grad)

    def summary(self) -> str:
        """One line: method, backbone, number of adapters, trained parameters."""
        total = sum(p.numel() for p in self.parameters())
        trained = sum(p.numel() for p in self.trainable_parameters())
        return (
            f'{type(self).__name__} on {type(self.module).__name__}: '
            f'{len(self.adapters)} adapters, trains {trained:,} of {total:,} '
            f'parameters ({100 * trained / total:.2f} %)'
        )

    def init_weights(self) -> None:
        """Nothing to do: construction has loaded the backbone.

        Raises:
            ValueError: If a surrounding model has just overwritten the frozen weights,
                as the ``init_cfg`` of mmpretrain's Swin and ConvNeXt base configs does.
        """
        given = self._given_parameters()
        # Distributed training overwrites the weights of other ranks with those of the
        # main process, rightly.
        if not is_main_process() or any(p.is_meta for p in given.values()):
            return
        row = first_difference(fingerprint(given.values()), self._constructed)
        if row is not None:
            raise ValueError(
                'the init_cfg of the model around the wrapper has overwritten the '
                f'backbone ({list(given)[row]!r}): set model.init_cfg=None.'
            )

    def merge(self) -> nn.Module:
        """Fold the adapters into a copy of the backbone.

        Returns:
            nn.Module: Plain modules only, equal to this wrapper in evaluation mode.
            This wrapper isn't changed.

        Raises:
            ValueError: If the method can't be merged; the message says why.
        """
        merged = copy.deepcopy(self.module)
        self._fold(merged)
        return merged.requires_grad_(True)

    def _fold(self, backbone: nn.Module) -> None:
        """Fold the adapters of ``backbone``, a copy of :attr:`module`, in place."""
        raise ValueError(f'{type(self).__name__} has no merged form.')

    def _register(self, adapters: dict[str, nn.Module]) -> None:
        """Take note of what was inserted and log the summary line."""
        self._adapters = dict(adapters)
        ours = {id(module) for module in self._adapters.values()}
        prefixes = tuple(
            f'{name}.' for name, module in self.named_modules() if id(module) in ours
        )
        self._kept = frozenset(
            name
            for name, tensor in self._full_state().items()
            if tensor.requires_grad or (prefixes and name.startswith(prefixes))
        )
        self._remember_given()
        self._register_state_dict_hook(_keep_trained)
        print_log(self.summary(), logger='current')

    def _given_parameters(self) -> dict[str, Tensor]:
        """What no surrounding model may initialise, by name: the frozen parameters."""
        return self._frozen_parameters()

    def _remember_given(self) -> None:
        given = self._given_parameters()
        if not any(p.is_meta for p in given.values()):
            self._constructed = fingerprint(given.values())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.module(*args, **kwargs)

    def train(self, mode: bool = True) -> PEFTModel:
        super().train(mode)
        for module in self.module.modules():
            if isinstance(module, _BatchNorm) and not any(
                p.requires_grad for p in module.parameters()
            ):
                module.eval()
        return self

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == 'module':
                raise
            return getattr(super().__getattr__('module'), name)

    def _full_state(self) -> dict[str, Tensor]:
        """All persistent tensors by their names below this wrapper, frozen ones too."""
        state = self.module.state_dict(prefix='module.', keep_vars=True)
        state.update(self.named_buffers(recurse=False))
        return state

    def _kept_names(self) -> set[str]:
        """What a checkpoint holds: what was registered and what was unfrozen since."""
        unfrozen = {name for name, p in self.named_parameters() if p.requires_grad}
        own = {name for name, _ in self.named_buffers(recurse=False)}
        return unfrozen | own | self._kept

    def _frozen_parameters(self) -> dict[str, Tensor]:
        kept = self._kept_names()
        return {n: p for n, p in self.named_parameters() if n not in kept}

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        ours = {k[len(prefix) :] for k in state_dict if k.startswith(prefix)}
        if ours:
            theirs = state_dict.pop(prefix + FINGERPRINT, None)
            self._check_state(state_dict, prefix, ours - {FINGERPRINT})
            self._check_fingerprint(theirs)
            for name, tensor in self._full_state().items():
                state_dict.setdefault(prefix + name, tensor.detach())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_state(
        self, state_dict: dict[str, Tensor], prefix: str, names: set[str]
    ) -> None:
        full, kept = self._full_state(), self._kept_names()
        given = {name: state_dict[prefix + name] for name in sorted(names)}
        faults = describe_misfit(given, dict(sorted(full.items())), sorted(kept))
        if faults:
            raise ValueError(
                f'the checkpoint does not fit this {type(self).__name__}: {faults}. It '
                'was made with another method, rank, number of branches, target or '
                'backbone; use the config that it was trained with. (A checkpoint of a '
                "plain backbone belongs into the backbone's init_cfg.)"
            )

    def _check_fingerprint(self, theirs: Tensor | None) -> None:
        frozen = self._frozen_parameters()
        if theirs is None or any(p.is_meta for p in frozen.values()):
            return
        ours = fingerprint(frozen.values())
        if ours.shape != theirs.shape:
            raise ValueError(
                f'the checkpoint was trained on a backbone with {len(theirs)} frozen '
                f'tensors, this one has {len(ours)}.'
            )
        row = first_difference(ours, theirs)
        if row is not None:
            raise ValueError(
                'the checkpoint was trained on another frozen backbone: '
                f'{list(frozen)[row]!r} has other values here. Load the same pre-trained '
                "weights (the backbone's init_cfg.checkpoint, same image size)."
            )


def describe_misfit(
    given: Mapping[str, Tensor], known: Mapping[str, Tensor], required: Iterable[str]
) -> str:
    """The first tensors in which a state doesn't fit; empty if it does.

    Args:
        given: The state to be loaded.
        known: All tensors that could be loaded.
        required: The names of those that must be.
    """
    faults = [f'{name} is missing' for name in required if name not in given]
    faults += [f'{name} is unknown here' for name in given if name not in known]
    faults += [
        f'{name} has shape {tuple(given[name].shape)}, not {tuple(tensor.shape)}'
        for name, tensor in known.items()
        if name in given and given[name].shape != tensor.shape
    ]
    more = f' and {len(faults) - 3} more' if len(faults) > 3 else ''
    return f'{"; ".join(faults[:3])}{more}'


def find_wrappers(model: nn.Module) -> list[PEFTModel]:
    """All wrappers inside a model, for example a classifier's backbone."""
    return [module for module in model.modules() if isinstance(module, PEFTModel)]


def _keep_trained(
    model: PEFTModel, state_dict: dict[str, Tensor], prefix: str, metadata: dict
) -> None:
    """State-dict hook: drop this wrapper's frozen tensors and add the fingerprint."""
    kept = model._kept_names()
    for name in model._full_state():
        if name not in kept:
            state_dict.pop(prefix + name, None)
    frozen = model._frozen_parameters()
    if not any(p.is_meta for p in frozen.values()):
        state_dict[prefix + FINGERPRINT] = fingerprint(frozen.values())
