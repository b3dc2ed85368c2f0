"""The state of a wrapper: what is trained, and a fingerprint of what is frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from .fingerprint import fingerprint, first_difference
from .writes import Writes

FINGERPRINT = 'backbone_fingerprint'


class TrainedState(BaseModule):
    """A module whose state holds what is trained of it.

    :meth:`state_dict` holds what is trained, the adapters' buffers and a fingerprint of
    the frozen weights. Loading refuses a state of another method, shape or frozen
    backbone with a ValueError, before anything is changed. A state without any key of
    this module is left to the caller's strictness.

    Attributes:
        active_adapter: The loaded adapter that is in use, see
            :func:`~mmdmlora.models.adapter_switching.set_adapter`. None: its own.
    """

    module: nn.Module

    def __init__(self) -> None:
        super().__init__()
        self.active_adapter: str | None = None
        self._registered: frozenset[str] = frozenset()
        self._frozen_fingerprint: tuple[Writes, Tensor] | None = None
        self._not_awaited: set[str] = set()
        self.register_state_dict_post_hook(_keep_trained)
        self.register_load_state_dict_post_hook(_forgive_frozen)

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

    def refuse_switched(self, action: str) -> None:
        """Refuse what would mix a loaded adapter with the module's own.

        Raises:
            ValueError: If a loaded adapter is in use.
        """
        if self.active_adapter is not None:
            raise ValueError(
                f'adapter {self.active_adapter!r} is in use, so this model can not be '
                f'{action}: call set_adapter(None) first.'
            )

    def _frozen_parameters(self) -> dict[str, Tensor]:
        parameters = dict(self.named_parameters())
        names = self._checkpoint_names(parameters)
        return {name: p for name, p in parameters.items() if name not in names}

    def _fingerprint(self) -> Tensor | None:
        """That of the frozen parameters, made anew where one has been written to."""
        frozen = list(self._frozen_parameters().values())
        if any(p.is_meta for p in frozen):
            return None
        written = Writes(frozen)
        known = self._frozen_fingerprint
        if known is None or known[0] != written:
            self._frozen_fingerprint = known = (written, fingerprint(frozen))
        return known[1]

    def _apply(self, fn: Callable, recurse: bool = True) -> TrainedState:
        self._frozen_fingerprint = None
        return super()._apply(fn, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_frozen_fingerprint': None}

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any
    ) -> None:
        names = {k[len(prefix) :] for k in state_dict if k.startswith(prefix)}
        if names:
            self.refuse_switched('loaded')
            saved = state_dict.pop(prefix + FINGERPRINT, None)
            self._check_state(state_dict, prefix, names - {FINGERPRINT})
            self._check_fingerprint(saved)
            full = self._full_state()
            for name, tensor in full.items():
                state_dict.setdefault(prefix + name, tensor.detach())
            frozen = full.keys() - self._checkpoint_names(full)
            self._not_awaited = {prefix + name for name in frozen}
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


def _keep_trained(
    model: TrainedState, state_dict: dict[str, Tensor], prefix: str, metadata: dict
) -> None:
    """State-dict hook: drop this wrapper's frozen tensors and add the fingerprint."""
    model.refuse_switched('saved')
    full = model._full_state()
    for name in full.keys() - model._checkpoint_names(full):
        state_dict.pop(prefix + name, None)
    frozen = model._fingerprint()
    if frozen is not None:
        state_dict[prefix + FINGERPRINT] = frozen.clone()


def _forgive_frozen(model: TrainedState, incompatible: Any) -> None:
    """Load hook: a backbone may drop tables from what it loads, then miss them."""
    missing: list[str] = incompatible.missing_keys
    missing[:] = [name for name in missing if name not in model._not_awaited]
    model._not_awaited = set()
