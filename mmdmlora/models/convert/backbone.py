"""Converting a pre-trained backbone's state dict to mmpretrain's names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mmengine.logging import print_log

from .candidates import below, describe, narrowed, preferred_prefix, read_preferred
from .layouts import LAYOUTS, Layout
from .values import State, num_stages

REFUSED = {
    r'.*(reg_token|register_tokens)': 'register tokens: take the file without registers',
    r'.*dist_token': 'a distillation token: take the file without distillation',
}


@dataclass(frozen=True)
class Architecture:
    """What a state dict holds.

    Attributes:
        source: The names that it came with, for example ``'timm ViT'``.
        family: The class of mmpretrain.
        embed_dims: The width, of the first stage where there are several.
        depths: The number of blocks in each stage; a ViT has one stage.
        patch_size: The side of a patch in pixels.
        parameters: The number of parameters.
        prefix: What stood before the names.
        other_prefixes: What stands before other names that could be a backbone's.
    """

    source: str
    family: str
    embed_dims: int
    depths: tuple[int, ...]
    patch_size: int
    parameters: int
    prefix: str = ''
    other_prefixes: tuple[str, ...] = ()

    def __str__(self) -> str:
        depths = '-'.join(str(depth) for depth in self.depths)
        return (
            f'{self.family}, embed dim {self.embed_dims}, depth {depths}, patch size '
            f'{self.patch_size}, {self.parameters:,} parameters'
        )


@dataclass(frozen=True)
class Family:
    """What a backbone of mmpretrain consists of.

    Attributes:
        block: The name of a block's tensor, with ``{stage}``, ``{block}``, ``{part}``.
        once: Names that occur once; ``{last}`` is the last stage.
        between: Names that each stage but the last has.
        stages: Names that each stage has.
        stem: The name of the patch embedding.
    """

    block: str
    once: tuple[str, ...]
    between: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    stem: str = 'patch_embed.projection.weight'

    @property
    def pattern(self) -> re.Pattern:
        text = self.block.replace('.', r'\.').replace('{part}', '(?P<part>.+)')
        for group in ('stage', 'block'):
            text = text.replace(f'{{{group}}}', rf'(?P<{group}>\d+)')
        return re.compile(text)

    def depths(self, names: State) -> tuple[int, ...]:
        """The number of blocks in each stage, taken from the highest index."""
        depths = [1] * num_stages(names)
        for m in filter(None, map(self.pattern.fullmatch, names)):
            stage = int(m.groupdict().get('stage', 0))
            depths[stage] = max(depths[stage], int(m['block']) + 1)
        return tuple(depths)

    def expected(self, names: State) -> list[str]:
        """All names of a complete backbone whose blocks have the parts found."""
        depths = self.depths(names)
        last = len(depths) - 1
        parts = dict.fromkeys(
            m['part'] for m in filter(None, map(self.pattern.fullmatch, names))
        )
        expected = [name.format(last=last) for name in self.once]
        expected += [n.format(stage=i) for i in range(last) for n in self.between]
        expected += [n.format(stage=i) for i in range(last + 1) for n in self.stages]
        expected += [
            self.block.format(stage=stage, block=block, part=part)
            for stage, depth in enumerate(depths)
            for block in range(depth)
            for part in parts
        ]
        return expected


def _affine(*names: str) -> tuple[str, ...]:
    return tuple(f'{name}.{kind}' for name in names for kind in ('weight', 'bias'))


FAMILIES = {
    'VisionTransformer': Family(
        'layers.{block}.{part}',
        ('cls_token', 'pos_embed', *_affine('patch_embed.projection', 'ln1')),
    ),
    'SwinTransformer': Family(
        'stages.{stage}.blocks.{block}.{part}',
        _affine('patch_embed.projection', 'patch_embed.norm', 'norm{last}'),
        between=(
            *_affine('stages.{stage}.downsample.norm'),
            'stages.{stage}.downsample.reduction.weight',
        ),
    ),
    'ConvNeXt': Family(
        'stages.{stage}.{block}.{part}',
        _affine('norm{last}'),
        stages=_affine('downsample_layers.{stage}.0', 'downsample_layers.{stage}.1'),
        stem='downsample_layers.0.0.weight',
    ),
}


def convert_backbone(
    checkpoint: Mapping[str, Any], key: str | None = None, prefix: str | None = None
) -> tuple[Architecture, State]:
    """Bring a pre-trained backbone into mmpretrain's names.

    Known are ViTs of the JAX ``.npz`` files, of timm, MAE, MoCo v3 and DINOv2, Swins and
    ConvNeXts of their authors and of timm, and mmpretrain's own names; all of them
    also below a key of the file and below a prefix, see
    :mod:`~mmdmlora.models.convert.candidates`. Values are transposed, reshaped and
    reordered, nothing else.

    Args:
        checkpoint: Names and tensors or NumPy arrays; anything else in it is ignored.
        key: The key of the state dict to take, if the file has several. Defaults to the
            preferred one.
        prefix: What stands before the names to take. Found by itself if None.

    Returns:
        tuple: What was found, and the state dict. It loads into mmpretrain's class with
        ``strict=True``. Unchanged tensors share memory with the input.

    Raises:
        ValueError: If the names are unknown, a tensor is missing, or there is one that
            mmpretrain's class has no place for.

    Note:
        That the last blocks are missing as a whole can't be seen from the names.
    """
    choice = read_preferred(
        checkpoint, lambda state: convert_state(narrowed(state, prefix)), key
    )
    architecture, _ = choice.content
    places = architecture.prefix, architecture.other_prefixes
    print_log(f'Converted {describe(choice, *places)}', logger='current')
    return choice.content


def convert_state(state: State) -> tuple[Architecture, State]:
    """The same for a single state dict."""
    layout, prefix, others = _detect(state)
    family = FAMILIES[layout.family]
    renamed = layout.finish(_rename(below(state, prefix), layout))
    if missing := [name for name in family.expected(renamed) if name not in renamed]:
        raise ValueError(
            f'the file is incomplete: as a {layout.family} with {layout.name} names it '
            f'lacks {len(missing)} tensors, first {", ".join(missing[:3])}.'
        )
    stem = renamed[family.stem]
    architecture = Architecture(
        source=layout.name,
        family=layout.family,
        embed_dims=stem.shape[0],
        depths=family.depths(renamed),
        patch_size=stem.shape[-1],
        parameters=sum(v.numel() for v in renamed.values() if v.is_floating_point()),
        prefix=prefix,
        other_prefixes=others,
    )
    return architecture, {name: v.contiguous() for name, v in renamed.items()}


def _detect(state: State) -> tuple[Layout, str, tuple[str, ...]]:
    """Find the layout, the prefix of its names, and the prefixes that fit too."""
    found = {layout: layout.prefixes(state) for layout in LAYOUTS}
    prefixes = set().union(*found.values())
    if not prefixes:
        known = ', '.join(layout.name for layout in LAYOUTS)
        raise ValueError(
            f'the names are unknown. Expected are those of one of: {known}. The file '
            f'names {sorted(state)[:3]}.'
        )
    prefix = preferred_prefix(prefixes)
    layout = next(layout for layout in LAYOUTS if prefix in found[layout])
    return layout, prefix, tuple(sorted(prefixes - {prefix}))


def _rename(state: State, layout: Layout) -> State:
    renamed = {}
    for name, value in state.items():
        for pattern, what in REFUSED.items():
            if re.fullmatch(pattern, name):
                raise ValueError(f'the file has {name}, {what}.')
        for pattern, new in layout.rules:
            if match := re.fullmatch(pattern, name):
                renamed[match.expand(new)] = value
                break
        else:
            if not re.fullmatch(layout.dropped, name):
                raise ValueError(
                    f"mmpretrain's {layout.family} has no place for {name} of this file, "
                    f'which has {layout.name} names otherwise.'
                )
    return renamed
