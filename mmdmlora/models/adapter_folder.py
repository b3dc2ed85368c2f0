"""A trained adapter as a folder: its tensors and a card.

::

    FOLDER
    ├── adapter.safetensors   the tensors
    ├── adapter.json          the card: method, places, scales, classes, ...
    └── README.md             the same for people

Names in ``adapter.safetensors``:

- ``low_rank.<place>.down`` ``(n, r, in)``, ``.up`` ``(n, out, r)`` and ``.scale`` ``()``:
  the branches of a low-rank adapter; n is 1 where their means were saved;
- ``wrapper.<name>``: what else is trained in the wrapper;
- ``beside.<name>``: what lies beside the wrapper in the model, such as a head;
- ``fingerprint``: values of the frozen backbone, to recognise it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from mmdmlora.io import atomic_write, expand_home
from mmdmlora.version import __version__

from .methods.low_rank_model import LowRankModel
from .peft_model import PEFTModel
from .trained_state import FINGERPRINT

WEIGHTS_FILE = 'adapter.safetensors'
CARD_FILE = 'adapter.json'
LOW_RANK, WRAPPER, BESIDE = 'low_rank.', 'wrapper.', 'beside.'
BRANCHES = ('mean', 'all')


@dataclass
class AdapterFolder:
    """What a folder holds.

    Attributes:
        card: See :func:`save_adapter`.
        tensors: All but the fingerprint, by name.
        fingerprint: ``(T, 16)``, see :func:`~mmdmlora.models.fingerprint.fingerprint`.
        frozen_names: The names of its T tensors in the backbone.
    """

    card: dict[str, Any]
    tensors: dict[str, Tensor]
    fingerprint: Tensor
    frozen_names: list[str]

    def below(self, prefix: str) -> dict[str, Tensor]:
        """The tensors below a prefix, without it."""
        found = self.tensors.items()
        return {k.removeprefix(prefix): v for k, v in found if k.startswith(prefix)}


def find_wrapper(model: nn.Module) -> tuple[str, PEFTModel]:
    """The one wrapper in a model, and its path; empty if it is the model.

    Raises:
        ValueError: If there is none, or there are several.
    """
    found = [(n, m) for n, m in model.named_modules() if isinstance(m, PEFTModel)]
    if len(found) != 1:
        raise ValueError(
            f'{type(model).__name__} has {len(found)} wrapped backbones: an adapter '
            'belongs to one. Name the wrapper itself.'
        )
    return found[0]


@torch.no_grad()
def save_adapter(
    model: nn.Module,
    folder: str | Path,
    branches: str = 'mean',
    **card: Any,
) -> Path:
    """Write what was trained into a folder, without the frozen backbone.

    Args:
        model (nn.Module): A wrapper, or a model around one. What a classifier has beside
            its wrapped backbone, its head, belongs to the adapter: save the classifier.
        folder (str | Path): The folder. It may hold an adapter, which is replaced.
        branches (str): ``mean``: of each low-rank adapter the means of the active
            branches, which is all that inference uses. ``all``: the active branches.
            Defaults to ``mean``.
        **card: What the card should say beside: ``classes``, ``preprocessing``, ``data``,
            ``accuracy`` or anything else that JSON can hold.

    Returns:
        Path: The folder.

    Raises:
        ValueError: If ``branches`` is unknown, the folder holds something else, the card
            can't be JSON, the model has no wrapper or several, or nothing is frozen.
    """
    if branches not in BRANCHES:
        raise ValueError(f'branches={branches!r} is unknown: use one of {BRANCHES}.')
    folder = expand_home(Path(folder))
    check_folder(folder)
    path, wrapper = find_wrapper(model)
    tensors = _trained_tensors(model, path, wrapper, branches)
    described = _describe(wrapper, branches) | card
    try:
        text = json.dumps(described, indent=2)
    except TypeError as error:
        raise ValueError(f'the card must be what JSON can hold: {error}.') from error
    frozen = wrapper.frozen_fingerprint()
    if not frozen:
        raise ValueError(
            f'{type(wrapper).__name__} has no frozen backbone that adapters could share: '
            'save its state dict, or merge it.'
        )
    tensors['fingerprint'] = torch.stack(list(frozen.values()))
    content = {k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}
    header = {'format': 'pt', 'frozen': json.dumps(list(frozen))}
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        WEIGHTS_FILE: safetensors.torch.save(content, header),
        CARD_FILE: f'{text}\n'.encode(),
        'README.md': _readme(described).encode(),
    }
    for name, data in files.items():
        with atomic_write(folder / name) as stream:
            stream.write(data)
    return folder


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than an adapter.

    Raises:
        ValueError: Naming it.
    """
    if folder.is_file():
        raise ValueError(f'{str(folder)!r} is a file: name a folder for the adapter.')
    if folder.exists() and any(folder.iterdir()) and not (folder / CARD_FILE).is_file():
        raise ValueError(
            f'{str(folder)!r} holds something else than an adapter: name another folder.'
        )


def read_adapter(folder: str | Path) -> AdapterFolder:
    """Read a folder that :func:`save_adapter` has written.

    Raises:
        ValueError: If it holds no adapter.
    """
    folder = expand_home(Path(folder))
    missing = [n for n in (WEIGHTS_FILE, CARD_FILE) if not (folder / n).is_file()]
    if missing:
        raise ValueError(
            f'{str(folder)!r} has no {missing[0]}: name a folder that save_adapter has '
            'written.'
        )
    try:
        tensors = safetensors.torch.load_file(folder / WEIGHTS_FILE)
        with safetensors.safe_open(folder / WEIGHTS_FILE, 'pt') as file:
            names = json.loads((file.metadata() or {})['frozen'])
        card = json.loads((folder / CARD_FILE).read_text(encoding='utf-8'))
        fingerprint = tensors.pop('fingerprint')
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(
            f'{str(folder)!r} holds no whole adapter ({error}): save it again.'
        ) from error
    return AdapterFolder(card, tensors, fingerprint, names)


def _trained_tensors(
    model: nn.Module, path: str, wrapper: PEFTModel, branches: str
) -> dict[str, Tensor]:
    """What the folder holds, by its names there."""
    tensors: dict[str, Tensor] = {}
    apart: tuple[str, ...] = (FINGERPRINT,)
    if isinstance(wrapper, LowRankModel):
        layers = wrapper.adapted_layers()
        apart += ('draws.', *(f'module.{layer}.adapters.' for layer in layers))
        for name, adapter in wrapper.adapters.items():
            down, up = adapter.branches()
            if branches == 'mean':
                down, up = down.mean(0, keepdim=True), up.mean(0, keepdim=True)
            tensors[f'{LOW_RANK}{name}.down'] = down
            tensors[f'{LOW_RANK}{name}.up'] = up
            tensors[f'{LOW_RANK}{name}.scale'] = adapter.scale
    prefix = f'{path}.' if path else ''
    for name, tensor in model.state_dict().items():
        if not name.startswith(prefix):
            tensors[f'{BESIDE}{name}'] = tensor
        elif not (inner := name.removeprefix(prefix)).startswith(apart):
            tensors[f'{WRAPPER}{inner}'] = tensor
    return tensors


def _describe(wrapper: PEFTModel, branches: str) -> dict[str, Any]:
    card: dict[str, Any] = dict(
        method=type(wrapper).__name__,
        backbone=type(wrapper.module).__name__,
        trained_parameters=sum(p.numel() for p in wrapper.trainable_parameters()),
        places=list(wrapper.adapters),
    )
    if isinstance(wrapper, LowRankModel):
        adapters = wrapper.adapters.values()
        card |= dict(
            rank=max(len(adapter.down[0]) for adapter in adapters),
            branches=branches,
            active_branches=max(len(kind) for a in adapters for kind in a.active()),
            scales=wrapper.scales(),
        )
    return card | dict(mmdmlora=__version__)


def _readme(card: Mapping[str, Any]) -> str:
    """The card for people: short values in lines, long ones left to the JSON file."""
    lines = [f'# Adapter ({card["method"]})', '']
    for name, value in card.items():
        text = json.dumps(value)
        if len(text) > 300:
            text = f'{len(value)} values, see {CARD_FILE}'
        lines.append(f'- {name.replace("_", " ")}: {text}')
    load = "mmdmlora.load_adapter(model, FOLDER, 'name')"
    switch = "mmdmlora.set_adapter(model, 'name')"
    return '\n'.join([*lines, '', '```python', load, switch, '```', ''])
