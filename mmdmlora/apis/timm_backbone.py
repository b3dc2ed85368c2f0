"""What a config needs of a model of timm: the classifier, its size and normalisation."""

from __future__ import annotations


def timm_backbone(name: str, **options) -> dict:
    """Changes for :func:`~mmdmlora.apis.compose.compose` that take a model of timm.

    The model is used whole, with its own pooling; the method adapts its usual places.
    Images get the size and the normalisation of timm's weights::

        globals().update(compose(_base_, **timm_backbone('convnext_tiny.fb_in1k')))

    Args:
        name (str): A name of ``timm.create_model``, also with a tag.
        **options: Other arguments of ``timm.create_model``, and of
            :class:`~mmdmlora.models.timm_classifier.TimmClassifier`. ``img_size`` is the
            size of the images; a model that takes images of any size isn't given it.

    Raises:
        ValueError: If timm isn't installed or doesn't know the name.
    """
    try:
        import timm
    except ImportError as error:
        raise ValueError(
            f'the backbone timm/{name} needs timm: pip install "mmdmlora[timm]".'
        ) from error
    from mmdmlora.models.timm_classifier import check_timm_name

    check_timm_name(name)
    settings = timm.get_pretrained_cfg(name)
    size = options.get('img_size', settings.input_size[-1])
    if not settings.fixed_input_size:
        options.pop('img_size', None)
    return dict(
        input_size=size,
        weights_source=f'https://huggingface.co/timm/{name}',
        model=dict(type='TimmClassifier', model_name=name, **options),
        data_preprocessor=dict(
            mean=[255 * value for value in settings.mean],
            std=[255 * value for value in settings.std],
            to_rgb=True,
        ),
    )
