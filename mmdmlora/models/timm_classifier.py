"""Classifiers of timm, adapted as they are."""

from __future__ import annotations

from typing import Any

from mmpretrain.models import TimmClassifier as StockTimmClassifier

from mmdmlora.registry import MODELS

from .pretrained import load_init_cfg


@MODELS.register_module()
class TimmClassifier(StockTimmClassifier):
    """A whole model of timm with its own pooling, a new head, and a method.

    Its merged form is mmpretrain's ``TimmClassifier`` with the same tensors.

    Args:
        model_name (str): A name of ``timm.create_model``.
        num_classes (int): Classes of the new head, which is trained fully.
        method (dict): Config of a wrapper, without ``module``.
        pretrained (bool): Whether timm loads its own weights, which it downloads. Not
            used where ``init_cfg`` names a file. Defaults to True.
        init_cfg (dict, optional): ``dict(type='Pretrained', checkpoint=...)``: a file of
            the model, whose classifier is left out. It is loaded completely or not at
            all, see :func:`~mmdmlora.models.pretrained.load_pretrained`.
        **options: Other arguments of mmpretrain's ``TimmClassifier`` and of
            ``timm.create_model``, such as ``img_size``.

    Raises:
        ValueError: If timm doesn't know the name or can't load its weights, or the file
            doesn't fit.
    """

    def __init__(
        self,
        model_name: str,
        num_classes: int,
        method: dict,
        pretrained: bool = True,
        init_cfg: dict | None = None,
        **options: Any,
    ) -> None:
        check_timm_name(model_name)
        downloads = pretrained and init_cfg is None
        try:
            super().__init__(model_name, pretrained=downloads, num_classes=0, **options)
        except (OSError, RuntimeError) as error:
            if not downloads:
                raise
            raise ValueError(
                f'timm can not load its weights of {model_name}: {error}. Name a file '
                'with --weights FILE (model.init_cfg), or set model.pretrained=False.'
            ) from error
        backbone = self.get_submodule('model')
        if init_cfg is not None:
            load_init_cfg(backbone, init_cfg)
        backbone.reset_classifier(num_classes)
        self.num_classes = num_classes
        self.model = MODELS.build(dict(method, module=backbone))
        self.model.train_also(backbone.pretrained_cfg['classifier'])


def check_timm_name(name: str) -> None:
    """Refuse a name that timm doesn't know.

    Raises:
        ValueError: Naming those that are like it.
    """
    import timm

    if timm.is_model(name):
        return
    alike = timm.list_models(f'*{name.partition(".")[0][:8]}*')[:5]
    raise ValueError(
        f'timm has no model {name!r}'
        + (f'; it has {", ".join(alike)}, ...' if alike else '')
        + ". timm.list_models('*part*') lists its names."
    )
