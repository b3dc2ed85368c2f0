"""The wrapper that every method derives from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import MethodType
from typing import Any, TypeVar

import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch import Tensor, nn

from .construction import build_backbone
from .fingerprint import fingerprint, first_difference
from .foldable import Foldable
from .freezing import has_statistics, is_frozen, trained_names, unchanged_flags
from .layer_checks import check_layers
from .layers.inserted_layer import InsertedLayer
from .named_parts import find_parts
from .recomputed_layers import connected, repeats_layers
from .targets import Target
from .weight_readers import check_readers

Inserted = TypeVar('Inserted', bound=InsertedLayer)


class PEFTModel(Foldable):
    """A frozen backbone with what a method trains.

    A method derives from this class, calls ``super().__init__(module)``, which builds,
    loads and freezes the backbone, inserts its modules into :attr:`module` or unfreezes
    parameters there, and ends with :meth:`_register`.

    Args:
        module (dict | nn.Module): Config of the backbone, or a module, see
            :func:`~mmdmlora.models.construction.build_backbone`. A module is adapted in
            place: it is neither copied nor initialised. In a config, an ``init_cfg`` of
            type ``Pretrained`` is loaded completely or not at all, see
            :func:`~mmdmlora.models.pretrained.load_pretrained`.
        frozen_dtype (str, optional): ``'bfloat16'``: see :meth:`cast_frozen`. Defaults
            to None: frozen weights stay as they are.

    Attributes:
        module (nn.Module): The backbone. Adapted layers keep their paths.
        backbone_trained (frozenset[str]): The names of those parameters that the
            backbone alone would train: without its ``frozen_stages``.

    Shape:
        As the backbone's.

    Raises:
        ValueError: If the backbone's checkpoint is missing or doesn't fit, or
            ``frozen_dtype`` is unknown or can't be had.

    Note:
        - State: see :class:`~mmdmlora.models.trained_state.TrainedState`.
        - Batch norms and others with running statistics stay in evaluation mode where
          they are frozen: their statistics are part of what is frozen.
        - What is inserted is trained everywhere, also inside of ``frozen_stages``. The
          backbone's ``train()`` can't change which parameters are trained.
        - Attributes that the wrapper lacks are looked up on the backbone.
        - On the meta device nothing is initialised or loaded.
    """

    # Why it can't be copied as nn.DataParallel does; empty: it can.
    _replica_fault = ''

    def __init__(self, module: dict | nn.Module, frozen_dtype: str | None = None) -> None:
        super().__init__()
        self.module = build_backbone(module)
        self.check_frozen_dtype(self.module, frozen_dtype)
        self.frozen_dtype = frozen_dtype
        self.backbone_trained = trained_names(self.module)
        self.module.requires_grad_(False)
        self._adapters: dict[str, nn.Module] = {}

    @property
    def adapters(self) -> dict[str, Any]:
        """The inserted modules by name: the path of the layer that each one adapts."""
        return self._adapters

    def trainable_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that the method trains, for a plain PyTorch optimizer."""
        return (p for p in self.parameters() if p.requires_grad)

    def parameter_groups(self) -> list[dict[str, Any]]:
        """The same in groups, where some need settings of their own."""
        return [dict(params=list(self.trainable_parameters()))]

    def train_also(self, names: str | Iterable[str]) -> None:
        """Train parts of the backbone fully, beside what the method trains.

        They join the state dict, buffers too, so that a state loads into a wrapper with
        the same names. Batch norms among them train their statistics.

        Args:
            names (str | Iterable[str]): Paths of submodules or parameters of the
                backbone, such as ``head`` or ``blocks.11.norm1``.

        Raises:
            ValueError: If a name has no parameters, or ``frozen_dtype`` has rounded them;
                nothing is changed then.
        """
        tensors = {
            self.backbone_name(name): tensor
            for name, tensor in (*self.named_parameters(), *self.named_buffers())
            if name.startswith('module.')
        }
        names = [names] if isinstance(names, str) else names
        parts = find_parts(names, tensors, type(self.module).__name__)
        self._refuse_rounded(parts)
        for part in parts:
            if isinstance(part, nn.Parameter):
                part.requires_grad_(True)
        found = {id(part) for part in parts}
        self._registered |= {n for n, t in self._full_state().items() if id(t) in found}
        self._remember_loaded()
        self.train(self.training)

    def summary(self) -> str:
        """One line: method, backbone, adapters, trained and rounded parameters."""
        total = sum(p.numel() for p in self.parameters())
        trained = sum(p.numel() for p in self.trainable_parameters())
        line = (
            f'{type(self).__name__} on {type(self.module).__name__}: '
            f'{len(self.adapters)} adapters, trains {trained:,} of {total:,} '
            f'parameters ({100 * trained / total:.2f} %)'
        )
        if self.frozen_dtype is None:
            return line
        rounded = sum(self.module.get_parameter(n).numel() for n in self._rounded)
        return f'{line}, keeps {rounded:,} in {self.frozen_dtype}'

    def frozen_fingerprint(self) -> dict[str, Tensor]:
        """Sixteen values of each frozen parameter, by its name in the backbone.

        Raises:
            ValueError: On the meta device.
        """
        rows = self._fingerprint()
        if rows is None:
            raise ValueError('weights on the meta device have no values.')
        names = map(self.backbone_name, self._frozen_parameters())
        return dict(zip(names, rows, strict=True))

    def save_adapter(
        self, folder: str | Path, branches: str = 'mean', **card: Any
    ) -> Path:
        """See :func:`~mmdmlora.models.adapter_folder.save_adapter`."""
        from .adapter_folder import save_adapter

        return save_adapter(self, folder, branches, **card)

    def load_adapter(self, folder: str | Path, name: str) -> dict[str, Any]:
        """See :func:`~mmdmlora.models.adapter_switching.load_adapter`."""
        from .adapter_switching import load_adapter

        return load_adapter(self, folder, name)

    def set_adapter(self, name: str | None) -> None:
        """See :func:`~mmdmlora.models.adapter_switching.set_adapter`."""
        from .adapter_switching import set_adapter

        set_adapter(self, name)

    def disable_adapter(self) -> AbstractContextManager[None]:
        """See :func:`~mmdmlora.models.adapter_switching.disable_adapter`."""
        from .adapter_switching import disable_adapter

        return disable_adapter(self)

    @property
    def needs_find_unused_parameters(self) -> bool:
        """Whether a step may leave out trained parameters (distributed training asks)."""
        return False

    def backbone_name(self, name: str) -> str:
        """The backbone's own name of a parameter.

        Args:
            name (str): Its name below this wrapper,
                ``module.layers.0.attn.qkv.original.weight``.

        Returns:
            str: ``layers.0.attn.qkv.weight``. What a method has inserted in the place of
            a layer gets a name below the layer's.
        """
        path = name.removeprefix('module.')
        for layer, _ in self._inserted_layers():
            if path.startswith(f'{layer}.original.'):
                return f'{layer}.{path.removeprefix(f"{layer}.original.")}'
        return path

    def get_layer_depth(self, param_name: str, prefix: str = '') -> tuple[int, int]:
        """The depth of a parameter's layer, as layer-wise learning rates ask for it.

        Args:
            param_name (str): The parameter's name, adapters' included.
            prefix (str): What stands before this wrapper's names. Defaults to ``''``.

        Returns:
            tuple[int, int]: The backbone's answer for the layer.

        Raises:
            NotImplementedError: If the backbone knows no depths.
        """
        if not hasattr(self.module, 'get_layer_depth'):
            raise NotImplementedError(
                f'{type(self.module).__name__} has no get_layer_depth, which layer-wise '
                'learning rates need: leave out layer_decay_rate.'
            )
        if param_name.startswith(prefix):
            param_name = prefix + self.backbone_name(param_name[len(prefix) :])
        return self.module.get_layer_depth(param_name, prefix)

    def init_weights(self) -> None:
        """Nothing to do: construction has loaded the backbone.

        Raises:
            ValueError: If a surrounding model has just overwritten the frozen weights,
                as the ``init_cfg`` of mmpretrain's Swin and ConvNeXt base configs does.
        """
        loaded = self._loaded_parameters()
        # Distributed training overwrites the weights of other ranks with those of the
        # main process, rightly.
        if not is_main_process() or any(p.is_meta for p in loaded.values()):
            return
        row = first_difference(fingerprint(loaded.values()), self._constructed)
        if row is not None:
            raise ValueError(
                'the init_cfg of the model around the wrapper has overwritten the '
                f'backbone ({list(loaded)[row]!r}): set model.init_cfg=None.'
            )

    def _insert(
        self, targets: Iterable[Target], adapted: Callable[[Target], Inserted]
    ) -> dict[str, Inserted]:
        """Put a new layer into the place of each target; by path.

        Raises:
            ValueError: If a target can't be adapted exactly; nothing is changed then.
        """
        targets = list(targets)
        check_layers(self.module, targets)
        layers = {target.name: adapted(target) for target in targets}
        check_readers(self.module, layers)
        for name, layer in layers.items():
            layer.path = name
            self.module.set_submodule(name, layer, strict=True)
        return layers

    def _register(self, adapters: Mapping[str, nn.Module]) -> None:
        """Take note of what was inserted and log the summary line."""
        self.train()
        self._adapters = dict(adapters)
        inserted = {id(module) for module in self._adapters.values()}
        prefixes = tuple(
            f'{name}.' for name, module in self.named_modules() if id(module) in inserted
        )
        self._registered = frozenset(
            name
            for name, tensor in self._full_state().items()
            if tensor.requires_grad or (prefixes and name.startswith(prefixes))
        )
        self._remember_loaded()
        if self.frozen_dtype is not None:
            self.cast_frozen(self.frozen_dtype)
        print_log(self.summary(), logger='current')

    def _loaded_parameters(self) -> dict[str, Tensor]:
        """What no surrounding model may initialise, by name: the frozen parameters."""
        return self._frozen_parameters()

    def _remember_loaded(self) -> None:
        loaded = self._loaded_parameters()
        if not any(p.is_meta for p in loaded.values()):
            self._constructed = fingerprint(loaded.values())

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if self._replica_fault and getattr(self, '_is_replica', False):
            raise RuntimeError(
                f'{type(self).__name__} does not work in nn.DataParallel: '
                f'{self._replica_fault}. Use DistributedDataParallel, also on one '
                'machine.'
            )
        self._unfold_if_written()
        if self._repeats_layers and self.training and torch.is_grad_enabled():
            args = tuple(connected(value) for value in args)
            kwargs = {name: connected(value) for name, value in kwargs.items()}
        return self._run(args, kwargs)

    def train(self, mode: bool = True) -> PEFTModel:
        if mode:
            self.refuse_switched('trained')
            self.unfold()
        self._refuse_rounded(self.trainable_parameters())
        with unchanged_flags(self.parameters()):
            super().train(mode)
        self._repeats_layers = repeats_layers(self.module)
        inserted = (layer for _, layer in self._inserted_layers())
        for module in (*inserted, *self.adapters.values()):
            module.train(mode)
        for module in self.module.modules():
            if has_statistics(module) and self._keeps_statistics(module):
                module.eval()
        return self

    def _keeps_statistics(self, module: nn.Module) -> bool:
        """Whether training must not change the running statistics of a module."""
        return is_frozen(module)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name == 'module':
                raise
        module = super().__getattr__('module')
        found = getattr(module, name)
        is_method = isinstance(found, MethodType) and found.__self__ is module
        return self._as_method(found) if is_method else found

    def _as_method(self, method: Callable) -> Callable:
        """A method of the backbone as it is called through this wrapper."""
        return self._as_forward(method)


def find_wrappers(model: nn.Module) -> list[PEFTModel]:
    """All wrappers inside a model, for example a classifier's backbone."""
    return [module for module in model.modules() if isinstance(module, PEFTModel)]
