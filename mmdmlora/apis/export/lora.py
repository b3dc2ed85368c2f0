r"""The adapters as one LoRA adapter of Hugging Face PEFT.

DMLoRA infers through :math:`W + s \bar B \bar A`, the means over the active branches:
a LoRA of the same rank, with :math:`s` folded into :math:`\bar B`. Where several parts
were adapted of what the library keeps as one weight (q and v of a fused qkv), their pairs
become one of the ranks' sum, with zeros in the rows of the others:

.. math::
    \begin{pmatrix} s_q \bar B_q & 0 \\ 0 & 0 \\ 0 & s_v \bar B_v \end{pmatrix}
    \begin{pmatrix} \bar A_q \\ \bar A_v \end{pmatrix}

This is exact too. The classifier goes into ``modules_to_save``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from mmpretrain.models import TimmClassifier
from torch import Tensor, nn

from mmdmlora._requirements import extra
from mmdmlora.io import atomic_write
from mmdmlora.models.convert import Rows
from mmdmlora.models.layers.adapted_layer import part_rows
from mmdmlora.models.layers.low_rank_update import LowRankPair
from mmdmlora.models.methods.low_rank_model import LowRankModel

from .classifier import TrainedClassifier
from .library_model import LibraryModel, logits_of
from .mmpretrain_model import mmpretrain_model
from .timm_model import timm_model
from .transformers_model import transformers_model

LIBRARIES = ('timm', 'transformers', 'mmpretrain')
WEIGHTS_FILE = 'adapter_model.safetensors'
PREFIX = 'base_model.model.'


def library_model(
    trained: TrainedClassifier, library: str, name: str | None
) -> LibraryModel:
    """The model that an adapter is for, with the frozen backbone's weights.

    Raises:
        ValueError: If the method isn't low-rank or trains more of the backbone.
    """
    wrapper = _low_rank_wrapper(trained)
    if isinstance(trained.model, TimmClassifier) and library != 'timm':
        raise ValueError(
            'the model is one of timm: export its adapter with --library timm.'
        )
    try:
        if library == 'timm':
            target = timm_model(trained, name)
        elif library == 'transformers':
            target = transformers_model(trained)
        else:
            target = mmpretrain_model(trained)
        target.load(trained.bare_backbone.state_dict(), trained.head)
    except ValueError as error:
        if library == 'mmpretrain' or isinstance(trained.model, TimmClassifier):
            raise
        raise ValueError(
            f'{error} Or write the adapter for the same model of mmpretrain, with '
            '--library mmpretrain.'
        ) from error
    own = {id(p) for adapter in wrapper.adapters.values() for p in adapter.parameters()}
    beside = [
        path
        for path, p in wrapper.module.named_parameters()
        if p.requires_grad and id(p) not in own and not path.startswith(target.classifier)
    ]
    if beside:
        raise ValueError(
            f'{beside[0]!r} of the backbone is trained beside the adapters, which a LoRA '
            'adapter can not hold. Choose another format.'
        )
    return target


def _low_rank_wrapper(trained: TrainedClassifier) -> LowRankModel:
    wrapper = trained.wrapper
    if not isinstance(wrapper, LowRankModel):
        kind = 'a merged model' if wrapper is None else type(wrapper).__name__
        raise ValueError(
            f'{kind} has no low-rank adapters, which are all that a LoRA adapter of PEFT '
            'can hold: export a checkpoint of DMLoRA or LoRA, or choose another format.'
        )
    return wrapper


def write_lora(
    trained: TrainedClassifier, out: Path, library: str, name: str | None
) -> str:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` into a folder."""
    with extra('export'):
        import peft
    target = library_model(trained, library, name)
    pairs = lora_pairs(_low_rank_wrapper(trained), target)
    ranks = {module: len(pair.down) for module, pair in pairs.items()}
    usual = max(ranks.values())
    others = {module: rank for module, rank in ranks.items() if rank != usual}
    config = peft.LoraConfig(
        r=usual,
        lora_alpha=usual,
        target_modules=sorted(ranks),
        rank_pattern=others,
        alpha_pattern=others,
        modules_to_save=[target.classifier],
        base_model_name_or_path=name,
        inference_mode=True,
    )
    tensors = {}
    for module, pair in pairs.items():
        tensors[f'{module}.lora_A.weight'] = pair.down
        tensors[f'{module}.lora_B.weight'] = pair.up
    tensors |= target.head_state(trained.head)
    out.mkdir(parents=True, exist_ok=True)
    values = {PREFIX + k: v.contiguous() for k, v in tensors.items()}
    with atomic_write(out / WEIGHTS_FILE) as stream:
        stream.write(safetensors.torch.save(values, {'format': 'pt'}))
    config.save_pretrained(out)
    with atomic_write(out / 'README.md') as stream:
        stream.write(_card(trained, target, library).encode())
    for file, content in target.files.items():
        with atomic_write(out / file) as stream:
            stream.write(content.encode())
    return (
        f'base = {target.code.replace("FOLDER", repr(str(out)))}\n'
        '# load into it the weights that the backbone was trained from\n'
        f'model = peft.PeftModel.from_pretrained(base, {str(out)!r})'
    )


def lora_pairs(wrapper: LowRankModel, target: LibraryModel) -> dict[str, LowRankPair]:
    """The pair for each adapted module of the other library's model.

    Raises:
        ValueError: If that model keeps adapted rows in another form.
    """
    parts: dict[str, list[tuple[Rows, LowRankPair]]] = {}
    for path, layer in wrapper.adapted_layers().items():
        for part, pair in layer.pairs().items():
            start, stop, _ = part_rows(part, len(layer.original.weight))
            place = target.placement.locate(f'{path}.weight', slice(start, stop))
            module = place.name.removesuffix('.weight')
            parts.setdefault(module, []).append((place, pair))
    return {
        module: _joined(target.model.get_submodule(module), found)
        for module, found in parts.items()
    }


def _joined(module: Any, parts: list[tuple[Rows, LowRankPair]]) -> LowRankPair:
    """One pair for all parts of a module, zero in rows that aren't adapted."""
    weight = module.weight
    rank = sum(len(pair.down) for _, pair in parts)
    down = torch.zeros(rank, weight[0].numel())
    up = torch.zeros(len(weight), rank)
    start = 0
    for place, pair in parts:
        features = torch.arange(start, start + len(pair.down))
        down[features[:, None], place.columns] = pair.down
        up[place.rows[:, None], features] = pair.up
        start += len(pair.down)
    if isinstance(module, nn.Conv2d):
        return LowRankPair(down[..., None, None], up[..., None, None])
    return LowRankPair(down, up)


@torch.no_grad()
def lora_logits(
    trained: TrainedClassifier, out: Path, images: Tensor, library: str, name: str | None
) -> Tensor:
    """The logits of the other library's model with the adapter that was written."""
    with extra('export'):
        import peft
    base = library_model(trained, library, name)
    # The adapter brings the classifier.
    nn.init.zeros_(base.model.get_parameter(f'{base.classifier}.weight'))
    adapted = peft.PeftModel.from_pretrained(base.model, out).eval()
    return logits_of(adapted(trained.inputs(images)))


def _card(trained: TrainedClassifier, target: LibraryModel, library: str) -> str:
    """A short description with the code that loads the adapter."""
    preprocessor = trained.model.data_preprocessor
    lines = [f'{name}: {_values(preprocessor, name)}' for name in ('mean', 'std')]
    return '\n'.join(
        [
            '---',
            'library_name: peft',
            'pipeline_tag: image-classification',
            '---',
            f'# {type(trained.wrapper).__name__} as a LoRA adapter',
            '',
            'Written by mmdmlora. The scale and the means of the branches are folded in:',
            'the adapter gives the logits of the trained model.',
            '',
            '```python',
            f'import peft, {library}',
            f'base = {target.code}',
            '# load into it the weights that the backbone was trained from',
            'model = peft.PeftModel.from_pretrained(base, FOLDER)',
            '```',
            '',
            f'- images: {trained.size} x {trained.size} pixels, RGB, 0 to 255',
            *(f'- {line}' for line in lines),
            f'- classes: {", ".join(trained.classes)}',
            '',
        ]
    )


def _values(preprocessor: nn.Module, name: str) -> list[float]:
    value = getattr(preprocessor, name, None)
    return [] if value is None else [round(v, 4) for v in value.flatten().tolist()]
