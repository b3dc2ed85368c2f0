"""Random backbones, methods and options, all of them valid together."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from mmdmlora.models import PEFTModel
from mmdmlora.models.draws import MODES
from mmdmlora.quiet_log import quiet_log
from mmdmlora.registry import MODELS

# Suffixes and expressions for the whole path, by backbone.
PATTERNS = dict(
    vit=('attn.qkv', 'attn.proj', r'layers\.0\..*qkv', r'.*ffn\.layers\.\d(\.0)?'),
    swin=('w_msa.qkv', 'w_msa.proj', r'stages\.1\..*qkv', 'ffn.layers.1'),
    convnext=('pointwise_conv1', 'pointwise_conv2', r'stages\.[02]\.0\.point.*1'),
    timm=('attn.qkv', 'attn.proj', r'.*blocks\.0.*qkv', r'.*mlp\.fc[12]'),
)
TUNED = ('DMLoRAModel', 'LoRAModel')
NO_TOKENS = ('VPTModel', 'convnext')
OTHERS = ('RepAdapterModel', 'AdapterModel', 'VPTModel', 'BitFitModel')
METHODS = (*TUNED, *OTHERS)
PARTS = st.lists(st.sampled_from('qkv'), min_size=1, unique=True).map(tuple)
COUNTS = st.integers(1, 4)
SCALES = st.sampled_from([0.25, 1, 3.0, 10.0])


@dataclass(frozen=True)
class Spec:
    """What a wrapper is built from."""

    kind: str
    backbone: dict
    method: str
    side: int
    options: dict = field(default_factory=dict)
    seed: int = 0

    def build(self) -> PEFTModel:
        """A wrapper in double precision, so that equal functions differ by rounding."""
        config = dict(type=f'mmdmlora.{self.method}', module=self.backbone)
        torch.manual_seed(self.seed)
        with quiet_log():
            model = MODELS.build(copy.deepcopy({**config, **self.options}))
        return model.double()

    def plain(self) -> nn.Module:
        """The frozen backbone alone, stock and with the weights of :meth:`build`."""
        return replace(self, method='LinearProbeModel', options={}).build().module

    def images(self, seed: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        shape = (2, 3, self.side, self.side)
        return torch.randn(shape, generator=generator, dtype=torch.double)

    def with_options(self, **options) -> Spec:
        return replace(self, options={**self.options, **options})


@st.composite
def backbones(draw, kind: str) -> tuple[dict, int]:
    """A config of this kind and the side of its images."""
    side = 32
    heads = draw(st.integers(1, 3))
    dims = heads * draw(st.sampled_from([8, 12]))
    if kind == 'vit':
        side = draw(st.sampled_from([16, 32]))
        layers = draw(st.integers(1, 2))
        arch = dict(embed_dims=dims, num_layers=layers, num_heads=heads)
        arch['feedforward_channels'] = dims * draw(st.integers(1, 3))
        options = dict(arch=arch, img_size=side, patch_size=8)
        return dict(type='mmpretrain.VisionTransformer', **options), side
    if kind == 'swin':
        depths = [1, draw(st.integers(1, 2))]
        arch = dict(embed_dims=dims, depths=depths, num_heads=[heads, heads])
        options = dict(
            arch=arch,
            img_size=side,
            window_size=draw(st.sampled_from([2, 3, 4])),
            out_indices=(1,),
            drop_path_rate=0.0,
        )
        return dict(type='mmpretrain.SwinTransformer', **options), side
    if kind == 'convnext':
        options = dict(
            arch=dict(depths=[1, 1, 1, 1], channels=[8, 8, 16, dims]),
            drop_path_rate=0.0,
            layer_scale_init_value=1.0,
            linear_pw_conv=draw(st.booleans()),
        )
        return dict(type='mmpretrain.ConvNeXt', **options), side
    options = dict(img_size=side, patch_size=8, embed_dim=dims, num_heads=heads)
    options.update(model_name='vit_tiny_patch16_224', depth=draw(st.integers(1, 2)))
    return dict(type='mmpretrain.TIMMBackbone', **options), side


@st.composite
def low_rank_options(draw, method: str) -> dict:
    """Options that both the method and one of its targets can take."""
    options = dict(rank=st.integers(1, 8), scale=SCALES, learn_scale=st.booleans())
    options['drop_rate'] = st.sampled_from([0.0, 0.0, 0.0, 0.3])
    required = dict(num_branches=COUNTS) if method == 'DMLoRAModel' else {}
    return draw(st.fixed_dictionaries(required, optional=options))


@st.composite
def targets(draw, kind: str, method: str) -> list[dict]:
    found = []
    for pattern in draw(
        st.lists(st.sampled_from(PATTERNS[kind]), min_size=1, max_size=3, unique=True)
    ):
        target = dict(type=pattern, **draw(low_rank_options(method)))
        if 'qkv' in pattern and draw(st.booleans()):
            target['parts'] = draw(PARTS)
        found.append(target)
    return found


@st.composite
def specs(draw, *methods: str) -> Spec:
    """A wrapper of one of these methods; by default of any."""
    method = draw(st.sampled_from(methods or METHODS))
    kinds = [kind for kind in PATTERNS if (method, kind) != NO_TOKENS]
    kind = draw(st.sampled_from(kinds))
    backbone, side = draw(backbones(kind))
    if method in TUNED:
        options = draw(low_rank_options(method))
        if method == 'DMLoRAModel':
            options['draws'] = draw(st.sampled_from(MODES))
        if draw(st.booleans()):
            options['targets'] = draw(targets(kind, method))
    elif method == 'RepAdapterModel':
        options = dict(dim=2 * draw(st.integers(1, 4)), scale=draw(SCALES))
        options.update(groups=draw(st.integers(1, 2)), drop_rate=0.0)
    elif method == 'AdapterModel':
        options = dict(dim=draw(st.integers(1, 8)))
    elif method == 'VPTModel':
        options = dict(num_tokens=draw(COUNTS), deep=draw(st.booleans()))
    else:
        options = {}
    return Spec(kind, backbone, method, side, options, draw(st.integers(0, 3)))
