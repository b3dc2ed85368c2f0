"""The architecture of a trained classifier in timm and in transformers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from mmpretrain.models import TimmClassifier
from torch import Tensor, nn

from mmdmlora._requirements import extra
from mmdmlora.models.convert import Placement

from .architecture import BackboneSettings, read_architecture
from .classifier import TrainedClassifier

LIBRARIES = ('timm', 'transformers')
# Of a TimmClassifier's options those that aren't timm's.
WRAPPER_OPTIONS = {
    *('type', '_scope_', 'model_name', 'num_classes', 'method', 'pretrained'),
    *('init_cfg', 'loss', 'train_cfg', 'with_cp', 'data_preprocessor'),
}


def _vit(embed_dim: int, depth: int, num_heads: int, **others: Any) -> dict:
    sizes = dict(embed_dim=embed_dim, depth=depth, num_heads=num_heads)
    usual = dict(
        patch_size=16, img_size=224, mlp_ratio=4.0, qkv_bias=True, init_values=None
    )
    return {**sizes, **usual, **others}


def _swin(embed_dim: int, depth: int, heads: int) -> dict:
    return dict(
        img_size=224,
        patch_size=4,
        embed_dim=embed_dim,
        depths=(2, 2, depth, 2),
        num_heads=tuple(heads * 2**i for i in range(4)),
        window_size=7,
        mlp_ratio=4.0,
        qkv_bias=True,
    )


def _convnext(dim: int, depth: int) -> dict:
    depths, dims = (3, 3, depth, 3), tuple(dim * 2**i for i in range(4))
    usual = dict(patch_size=4, conv_mlp=False, use_grn=False, ls_init_value=1e-6)
    return {'depths': depths, 'dims': dims, **usual}


_DINOV2: dict[str, Any] = dict(patch_size=14, img_size=518, init_values=1e-5)
# What each model of timm is; others are one of these with options.
TIMM_MODELS: dict[str, dict[str, dict]] = dict(
    VisionTransformer=dict(
        vit_base_patch16_224=_vit(768, 12, 12),
        vit_tiny_patch16_224=_vit(192, 12, 3),
        vit_small_patch16_224=_vit(384, 12, 6),
        vit_large_patch16_224=_vit(1024, 24, 16),
        vit_small_patch14_dinov2=_vit(384, 12, 6, **_DINOV2),
        vit_base_patch14_dinov2=_vit(768, 12, 12, **_DINOV2),
        vit_large_patch14_dinov2=_vit(1024, 24, 16, **_DINOV2),
    ),
    SwinTransformer=dict(
        swin_tiny_patch4_window7_224=_swin(96, 6, 3),
        swin_small_patch4_window7_224=_swin(96, 18, 3),
        swin_base_patch4_window7_224=_swin(128, 18, 4),
        swin_large_patch4_window7_224=_swin(192, 18, 6),
    ),
    ConvNeXt=dict(
        convnext_tiny=_convnext(96, 9),
        convnext_small=_convnext(96, 27),
        convnext_base=_convnext(128, 27),
        convnext_large=_convnext(192, 27),
    ),
)


@dataclass
class LibraryModel:
    """A model of another library with the architecture of a trained classifier.

    Args:
        model: The model, with random weights, in evaluation mode.
        code: How a user builds it.
        classifier: The path of its last linear layer.
        placement: Where it keeps the backbone's values.
    """

    model: nn.Module
    code: str
    classifier: str
    placement: Placement

    def load(self, backbone: Mapping[str, Tensor], head: nn.Linear) -> None:
        """Fill it with a backbone's values and a head's, strictly."""
        state = self.placement.fill(backbone)
        weight, bias = self.head_values(head)
        state[f'{self.classifier}.weight'] = weight
        state[f'{self.classifier}.bias'] = bias
        self.model.load_state_dict(state, strict=True)

    def head_values(self, head: nn.Linear) -> tuple[Tensor, Tensor]:
        """The weight and the bias of its last layer that equal a head.

        DINOv2 of transformers reads the class token and the mean of the patches; the
        weights of the mean are zero.
        """
        weight = head.weight.detach().float()
        own = self.model.get_parameter(f'{self.classifier}.weight')
        padded = weight.new_zeros(own.shape)
        padded[:, : weight.shape[1]] = weight
        bias = torch.zeros(len(weight)) if head.bias is None else head.bias.detach()
        return padded, bias.float()

    @torch.no_grad()
    def logits(self, inputs: Tensor) -> Tensor:
        """Its logits, ``(N, classes)``, of what the network reads."""
        return logits_of(self.model(inputs))


def logits_of(output: Any) -> Tensor:
    """The logits in what a model of timm or transformers returns."""
    return output if isinstance(output, Tensor) else output.logits


def timm_model(trained: TrainedClassifier, name: str | None = None) -> LibraryModel:
    """The same architecture in timm.

    Args:
        trained: The trained classifier.
        name: A name of ``timm.create_model``. Derived from the sizes if None.

    Raises:
        MissingExtraError: If timm isn't installed.
        ValueError: If timm hasn't the architecture, or ``name`` is another one.
    """
    with extra('export'):
        import timm
    options: dict[str, Any] = dict(num_classes=trained.head.out_features)
    is_whole = isinstance(trained.model, TimmClassifier)
    if is_whole:
        own = trained.config.model
        name = own.model_name
        options |= {k: v for k, v in own.items() if k not in WRAPPER_OPTIONS}
    else:
        found = read_architecture(trained.bare_backbone, trained.size)
        name, different = _nearest(found, name)
        options |= different
    try:
        model = timm.create_model(name, pretrained=False, **options).eval()
    except (RuntimeError, TypeError) as error:
        raise ValueError(f'timm.create_model({name!r}, **{options}): {error}') from error
    text = ', '.join(f'{key}={value!r}' for key, value in options.items())
    return LibraryModel(
        model,
        f'timm.create_model({name!r}, {text})',
        model.pretrained_cfg['classifier'],
        Placement(model.state_dict(), own_names=is_whole),
    )


def _nearest(found: BackboneSettings, name: str | None) -> tuple[str, dict[str, Any]]:
    """The model of timm that needs the fewest options, and these options."""
    models = TIMM_MODELS[found.family]
    if name is not None:
        sizes = ('img_size',) if 'img_size' in found.settings else ()
        if name not in models:
            return name, {key: found.settings[key] for key in sizes}
        models = {name: models[name]}
    different = {
        each: {k: v for k, v in found.settings.items() if usual[k] != v}
        for each, usual in models.items()
    }
    best = min(different, key=lambda each: len(different[each]))
    return best, different[best]


def transformers_model(trained: TrainedClassifier) -> LibraryModel:
    """The same architecture in Hugging Face's transformers.

    Raises:
        MissingExtraError: If transformers isn't installed.
        ValueError: If transformers hasn't the architecture.
    """
    with extra('export'):
        import transformers
    if isinstance(trained.model, TimmClassifier):
        raise ValueError(
            'the model is one of timm: export its adapter with --library timm.'
        )
    found = read_architecture(trained.bare_backbone, trained.size)
    config, kind = _transformers_config(found)
    classes = dict(enumerate(trained.classes))
    settings = getattr(transformers, f'{config}Config')(
        id2label=classes, label2id={name: i for i, name in classes.items()}, **kind
    )
    model = getattr(transformers, f'{config}ForImageClassification')(settings).eval()
    text = ', '.join(f'{key}={value!r}' for key, value in kind.items())
    return LibraryModel(
        model,
        f'transformers.{config}ForImageClassification(transformers.{config}Config('
        f'{text}, num_labels={len(classes)}))',
        'classifier',
        Placement(model.state_dict()),
    )


def _transformers_config(found: BackboneSettings) -> tuple[str, dict[str, Any]]:
    """The name of an architecture in transformers, and the options of its config."""
    sizes = found.settings
    common: dict[str, Any] = dict(
        patch_size=sizes['patch_size'], layer_norm_eps=found.eps
    )
    if found.family == 'ConvNeXt':
        if sizes['conv_mlp'] or sizes['use_grn'] or sizes['ls_init_value'] is None:
            raise ValueError(
                "transformers' ConvNext has linear layers and a layer scale in its "
                'blocks, no convolutions or response normalisation. Use --library timm.'
            )
        return 'ConvNext', dict(
            common,
            hidden_sizes=list(sizes['dims']),
            depths=list(sizes['depths']),
            num_stages=len(sizes['depths']),
        )
    common |= dict(image_size=sizes['img_size'], qkv_bias=sizes['qkv_bias'])
    if found.family == 'SwinTransformer':
        names = ('embed_dim', 'window_size', 'mlp_ratio')
        several = {name: list(sizes[name]) for name in ('depths', 'num_heads')}
        return 'Swin', {**common, **{n: sizes[n] for n in names}, **several}
    common |= dict(
        hidden_size=sizes['embed_dim'],
        num_hidden_layers=sizes['depth'],
        num_attention_heads=sizes['num_heads'],
    )
    if sizes['init_values'] is not None:
        return 'Dinov2', dict(common, mlp_ratio=int(sizes['mlp_ratio']))
    width = round(sizes['embed_dim'] * sizes['mlp_ratio'])
    return 'ViT', dict(common, intermediate_size=width)
