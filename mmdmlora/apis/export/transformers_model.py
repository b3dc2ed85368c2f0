"""The architecture of a trained classifier in Hugging Face's transformers."""

from __future__ import annotations

from typing import Any

from mmdmlora._requirements import extra
from mmdmlora.models.convert import Placement

from .architecture import BackboneSettings, read_architecture
from .classifier import TrainedClassifier
from .library_model import LibraryModel


def transformers_model(trained: TrainedClassifier) -> LibraryModel:
    """The same architecture in Hugging Face's transformers.

    Raises:
        MissingExtraError: If transformers isn't installed.
        ValueError: If transformers hasn't the architecture.
    """
    with extra('export'):
        import transformers
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
