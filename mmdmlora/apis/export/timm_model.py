"""The architecture of a trained classifier in timm."""

from __future__ import annotations

from typing import Any

from mmpretrain.models import TimmClassifier

from mmdmlora._requirements import extra
from mmdmlora.models.convert import Placement

from .architecture import BackboneSettings, read_architecture
from .classifier import TrainedClassifier
from .library_model import LibraryModel

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
        Placement(model.state_dict(), prefix='' if is_whole else None),
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
