"""Values that other libraries store in another order or shape than mmpretrain."""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor

State = dict[str, Tensor]
STAGE = re.compile(r'(?:stages|downsample_layers)\.(\d+)\.(downsample\.)?')


def num_stages(state: State) -> int:
    """The number of stages: a stage's downsampling shows that there is a next one."""
    found = [m for name in state if (m := STAGE.match(name))]
    return max((int(m[1]) + bool(m[2]) for m in found), default=0) + 1


def check_tokens(state: State) -> State:
    """Refuse a position embedding that isn't a class token and a square of patches.

    mmpretrain would resize it without an error, to something else.
    """
    if 'pos_embed' in state:
        patches = state['pos_embed'].shape[1] - 1
        if math.isqrt(patches) ** 2 != patches:
            raise ValueError(
                f'pos_embed has {patches + 1} tokens; expected is one for the class '
                'token and one for each patch of a square image.'
            )
    return state


def from_flax(state: State) -> State:
    """Lay kernels out as PyTorch does and join query, key and value.

    Flax stores a convolution as (H, W, in, out), a linear layer as (in, out), and the
    attention's projections by head: (in, heads, dim) and (heads, dim, out).
    """
    out: State = {}
    for name, value in state.items():
        stem, _, kind = name.rpartition('.')
        if kind == 'kernel' and value.ndim == 4:
            name, value = f'{stem}.weight', value.permute(3, 2, 0, 1)
        elif kind == 'kernel' and stem.endswith('.proj'):
            name, value = f'{stem}.weight', value.flatten(0, 1).T
        elif kind == 'kernel':
            name, value = f'{stem}.weight', value.flatten(1).T
        elif kind == 'scale':
            name = f'{stem}.weight'
        elif kind == 'bias':
            value = value.flatten()
        out[name] = value
    return check_tokens(_joined_qkv(out, ('query', 'key', 'value')))


def from_transformers(state: State) -> State:
    """Join query, key and value."""
    return check_tokens(_joined_qkv(state, ('q', 'k', 'v')))


def from_transformers_swin(state: State) -> State:
    """The same, with Swin's own order of the patch merging."""
    return finish_swin(_joined_qkv(state, ('q', 'k', 'v')))


def _joined_qkv(state: State, parts: tuple[str, str, str]) -> State:
    """Join separate projections of an attention to mmpretrain's ``qkv``."""
    out = dict(state)
    pattern = re.compile(rf'(.+)\.(?:{"|".join(parts)})\.(weight|bias)')
    for block, kind in {m.groups() for name in out if (m := pattern.fullmatch(name))}:
        names = [f'{block}.{part}.{kind}' for part in parts]
        if missing := [name for name in names if name not in out]:
            raise ValueError(f'the file is incomplete: {missing[0]} is missing.')
        out[f'{block}.qkv.{kind}'] = torch.cat([out.pop(name) for name in names])
    return out


def number_norm(state: State) -> State:
    """Name the final norm after the last stage, as mmpretrain does."""
    last = f'norm{num_stages(state) - 1}.'
    return {re.sub(r'^norm\.', last, name): value for name, value in state.items()}


def finish_swin(state: State) -> State:
    """Reorder the patch merging and add the buffers that mmpretrain saves.

    A merged patch's four pixels come pixel by pixel, in the order (0, 0), (1, 0),
    (0, 1), (1, 1) of row and column. ``nn.Unfold``, which mmpretrain uses, gives them
    channel by channel, in the order (0, 0), (0, 1), (1, 0), (1, 1).
    """
    for name, value in state.items():
        if '.downsample.' in name:
            pixels = value.unflatten(-1, (4, -1))[..., [0, 2, 1, 3], :]
            state[name] = pixels.transpose(-1, -2).flatten(-2)
    return add_relative_index(number_norm(state))


def finish_timm_swin(state: State) -> State:
    """The same for timm, which puts the patch merging at the start of the next stage."""
    return finish_swin(
        {
            re.sub(
                r'^stages\.(\d+)\.downsample',
                lambda m: f'stages.{int(m[1]) - 1}.downsample',
                name,
            ): value
            for name, value in state.items()
        }
    )


def add_relative_index(state: State) -> State:
    """Add ``relative_position_index`` wherever there is a table without it.

    Entry (p, q) is the table's row for the offset from pixel q to pixel p of a window.
    """
    for name in [n for n in state if n.endswith('relative_position_bias_table')]:
        side = math.isqrt(len(state[name]))
        window = torch.arange((side + 1) // 2)
        offset = window[:, None] - window[None, :] + len(window) - 1
        rows = offset[:, None, :, None] * side + offset[None, :, None, :]
        index = rows.flatten(2).flatten(0, 1)
        state.setdefault(name.replace('bias_table', 'index'), index)
    return state
