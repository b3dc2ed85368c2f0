"""The wrapper that every method derives from."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmdmlora.registry import MODELS
from mmdmlora.utils import quiet

from .fingerprint import fingerprint, first_difference
from .layers.inserted_layer import InsertedLayer
from .pretrained import load_init_cfg
from .targets import Target
from .writes import Writes

FINGERPRINT = 'backbone_fingerprint'
Inserted = TypeVar('Inserted', bound=InsertedLayer)


class PEFTModel(BaseModule):
    """A frozen backbone with what a method trains.

    A method derives from this class, calls ``super().__init__(module)``, which builds,
    loads and freezes the backbone, inserts its modules into :attr:`module` or unfreezes
    parameters there, and ends with :meth:`_register`.

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
                load_init_cfg(self.module, init_cfg)
        self.module.requires_grad_(False)
        self._adapters: dict[str, nn.Module] = {}
        self._registered: frozenset[str] = frozenset()
        self._frozen_fingerprint: tuple[Writes, Tensor] | None = None

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
        for layer, module in self.module.named_modules():
            if isinstance(module, InsertedLayer) and path.startswith(
                f'{layer}.original.'
            ):
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

    def merge(self) -> nn.Module:
        """Fold the adapters into a copy of the backbone.

        Returns:
            nn.Module: Plain modules only, equal to this wrapper in evaluation mode.
            This wrapper isn't changed.

        Raises:
            ValueError: If the method can't be merged; the message says why.
        """
        merged = copy.deepcopy(self.module)
        for name, layer in list(merged.named_modules()):
            if isinstance(layer, InsertedLayer):
                try:
                    folded = layer.merge()
                except ValueError as error:
                    raise ValueError(
                        f'{type(self).__name__} has no merged form: {name!r}: {error}'
                    ) from error
                merged.set_submodule(name, folded, strict=True)
        return merged.requires_grad_(True)

    def _insert(
        self, targets: Iterable[Target], adapted: Callable[[Target], Inserted]
    ) -> dict[str, Inserted]:
        """Put a new layer into the place of each target; by path."""
        layers = {target.name: adapted(target) for target in targets}
        for name, layer in layers.items():
            self.module.set_submodule(name, layer, strict=True)
        return layers

    def _register(self, adapters: Mapping[str, nn.Module]) -> None:
        """Take note of what was inserted and log the summary line."""
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
        self.register_state_dict_post_hook(_keep_trained)
        print_log(self.summary(), logger='current')

    def _loaded_parameters(self) -> dict[str, Tensor]:
        """What no surrounding model may initialise, by name: the frozen parameters."""
        return self._frozen_parameters()

    def _remember_loaded(self) -> None:
        loaded = self._loaded_parameters()
        if not any(p.is_meta for p in loaded.values()):
            self._constructed = fingerprint(loaded.values())

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
        state = dict(self.named_buffers(recurse=False))
        for name, child in self.named_children():
            state.update(child.state_dict(prefix=f'{name}.', keep_vars=True))
        return state

    def _checkpoint_names(self, state: Iterable[str]) -> set[str]:
        """What a checkpoint holds of a full state.

        Everything beside the backbone; in it what was registered and what was unfrozen
        since.
        """
        unfrozen = {name for name, p in self.named_parameters() if p.requires_grad}
        in_backbone = {name for name in state if name.startswith('module.')}
        return (set(state) - in_backbone) | unfrozen | self._registered

    def _frozen_parameters(self) -> dict[str, Tensor]:
        parameters = dict(self.named_parameters())
        names = self._checkpoint_names(parameters)
        return {name: p for name, p in parameters.items() if name not in names}

    def _fingerprint(self) -> Tensor | None:
        """That of the frozen parameters, made anew where one has been written to."""
        frozen = list(self._frozen_parameters().values())
        if any(p.is_meta for p in frozen):
            return None
        written = [(p, -1 if p.is_inference() else p._version) for p in frozen]
        known = self._frozen_fingerprint
        if known is None or not (
            len(known[0]) == len(written)
            and all(
                a is b and v == w
                for (a, v), (b, w) in zip(known[0], written, strict=True)
            )
        ):
            self._frozen_fingerprint = known = (written, fingerprint(frozen))
        return known[1]

    def _apply(self, fn: Callable, recurse: bool = True) -> PEFTModel:
        self._frozen_fingerprint = None
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_frozen_fingerprint': None}

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        names = {k[len(prefix) :] for k in state_dict if k.startswith(prefix)}
        if names:
            saved = state_dict.pop(prefix + FINGERPRINT, None)
            self._check_state(state_dict, prefix, names - {FINGERPRINT})
            self._check_fingerprint(saved)
            for name, tensor in self._full_state().items():
                state_dict.setdefault(prefix + name, tensor.detach())
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _check_state(
        self, state_dict: dict[str, Tensor], prefix: str, names: set[str]
    ) -> None:
        full = self._full_state()
        loaded = {name: state_dict[prefix + name] for name in sorted(names)}
        required = sorted(self._checkpoint_names(full))
        faults = describe_misfit(loaded, dict(sorted(full.items())), required)
        if faults:
            raise ValueError(
                f'the checkpoint does not fit this {type(self).__name__}: {faults}. It '
                'was made with another method, rank, number of branches, target or '
                'backbone; use the config that it was trained with. (A checkpoint of a '
                "plain backbone belongs into the backbone's init_cfg.)"
            )

    def _check_fingerprint(self, saved: Tensor | None) -> None:
        own = self._fingerprint()
        if saved is None or own is None:
            return
        if own.shape != saved.shape:
            raise ValueError(
                f'the checkpoint was trained on a backbone with {len(saved)} frozen '
                f'tensors, this one has {len(own)}.'
            )
        row = first_difference(own, saved)
        if row is not None:
            raise ValueError(
                'the checkpoint was trained on another frozen backbone: '
                f'{list(self._frozen_parameters())[row]!r} has other values here. Load '
                "the same pre-trained weights (the backbone's init_cfg.checkpoint, same "
                'image size).'
            )


def describe_misfit(
    loaded: Mapping[str, Tensor], known: Mapping[str, Tensor], required: Iterable[str]
) -> str:
    """The first tensors in which a state doesn't fit; empty if it does.

    Args:
        loaded: The state to be loaded.
        known: All tensors that could be loaded.
        required: The names of those that must be.
    """
    faults = [f'{name} is missing' for name in required if name not in loaded]
    faults += [f'{name} is unknown here' for name in loaded if name not in known]
    faults += [
        f'{name} has shape {tuple(loaded[name].shape)}, not {tuple(tensor.shape)}'
        for name, tensor in known.items()
        if name in loaded and loaded[name].shape != tensor.shape
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
    full = model._full_state()
    for name in full.keys() - model._checkpoint_names(full):
        state_dict.pop(prefix + name, None)
    frozen = model._fingerprint()
    if frozen is not None:
        state_dict[prefix + FINGERPRINT] = frozen.clone()
