"""Exporting a trained classifier, and comparing what was written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from mmdmlora.apis.outputs import check_merged, check_output
from mmdmlora.apis.trained_run import TrainedRun, find_run
from mmdmlora.io import expand_home
from mmdmlora.quiet_log import quiet_log

from .classifier import NUM_IMAGES, TrainedClassifier, read_classifier, sample_images
from .lora import LIBRARIES, WEIGHTS_FILE, lora_logits, write_lora
from .merged import stock_logits, timm_logits, write_stock, write_timm
from .programs import onnx_logits, program_logits, write_onnx, write_program


@dataclass(frozen=True)
class Format:
    """A format to export to.

    Attributes:
        endings: Those of its file, the usual one first; empty for a folder.
        tolerance: How far logits may differ, as a share of the largest or of 1.
        takes_pixels: Whether the preprocessing can be part of it.
        has_library: Whether it is for one of several libraries.
    """

    endings: tuple[str, ...]
    tolerance: float
    takes_pixels: bool = False
    has_library: bool = False


FORMATS = {
    'onnx': Format(('.onnx',), 1e-4, takes_pixels=True),
    'timm': Format(('.safetensors', '.pth'), 1e-5),
    'safetensors': Format(('.safetensors',), 1e-5),
    'mmpretrain': Format(('.pth', '.pt'), 1e-5),
    'peft': Format((), 1e-4, has_library=True),
    'torch-export': Format(('.pt2',), 1e-4, takes_pixels=True),
}


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        out: The file or folder.
        difference: The largest difference of a logit from PyTorch's.
        largest: The largest logit, for comparison.
        images: The number of images that were compared.
        usage: How it is loaded.
    """

    out: Path
    difference: float
    largest: float
    images: int
    usage: str


def export(
    run: str | Path,
    to: str,
    out: str | Path | None = None,
    best: bool = False,
    with_preprocessing: bool = False,
    library: str = 'timm',
    name: str | None = None,
    size: int | None = None,
    force: bool = False,
) -> Exported:
    """Write a trained classifier in a format, load it again and compare its logits.

    Args:
        run: A training's folder or a checkpoint, see
            :func:`~mmdmlora.apis.trained_run.find_run`.
        to: ``onnx``, ``timm``, ``safetensors``, ``mmpretrain``, ``peft`` or
            ``torch-export``.
        out: The file to write, for ``peft`` the folder. Defaults to a name in
            ``export/`` beside the checkpoint.
        best: Take the folder's best checkpoint. Defaults to False: the last one.
        with_preprocessing: Let ONNX and torch.export take decoded images, RGB, uint8,
            ``(N, H, W, 3)`` of the model's size, and normalise them. Resizing stays
            outside. Defaults to False: they take normalised images ``(N, 3, H, W)``.
        library: The library whose model a PEFT adapter is for: ``timm``,
            ``transformers`` or ``mmpretrain``.
        name: The model of timm. Derived from the backbone's sizes if None.
        size: The side of the images in pixels. Defaults to that of the test pipeline.
        force: Whether what is at ``out`` may be replaced.

    Returns:
        Exported: Where it is, and how far it differs.

    Raises:
        ValueError: If an argument doesn't fit, the model can't be written exactly in
            this format, or the logits differ too much.
        MissingExtraError: If a package isn't installed.
    """
    _check_arguments(to, with_preprocessing, library, name)
    found = find_run(run, best)
    target = _default_out(found, to, library) if out is None else expand_home(Path(out))
    _check_out(target, to, found, force, is_default=out is None)
    with quiet_log():
        trained = read_classifier(found, size)
    write, read = _functions(trained, target, to, with_preprocessing, library, name)
    images = sample_images(trained.size)
    expected = trained.logits(images)
    usage = write()
    difference = float((read(images).float() - expected).abs().max())
    largest = float(expected.abs().max())
    allowed = FORMATS[to].tolerance * max(1.0, largest)
    if not difference <= allowed:
        raise ValueError(
            f'{str(target)!r} was written, but its logits differ from those of PyTorch '
            f'by up to {difference:.2g} (allowed: {allowed:.2g}): do not use it. The '
            f'architecture may have an option that {to} does not have.'
        )
    return Exported(target, difference, largest, NUM_IMAGES, usage)


def _check_arguments(to: str, pixels: bool, library: str, name: str | None) -> None:
    if to not in FORMATS:
        raise ValueError(f'{to!r} is no format: expected one of {", ".join(FORMATS)}.')
    if library not in LIBRARIES:
        raise ValueError(
            f'library={library!r} is unknown: expected one of {", ".join(LIBRARIES)}.'
        )
    if pixels and not FORMATS[to].takes_pixels:
        fitting = [name for name, each in FORMATS.items() if each.takes_pixels]
        raise ValueError(
            f'{to} holds weights and no preprocessing: --with-preprocessing goes with '
            f'{" and ".join(fitting)}.'
        )
    if library != 'timm' and not FORMATS[to].has_library:
        raise ValueError(f'--library goes with peft, not with {to}.')
    if name is not None and (to not in ('timm', 'peft') or library != 'timm'):
        raise ValueError(
            f'--model {name} names a model of timm: it goes with timm, and with peft '
            'for timm.'
        )


def _default_out(run: TrainedRun, to: str, library: str) -> Path:
    folder, stem = run.checkpoint.parent / 'export', run.checkpoint.stem
    if to == 'peft':
        return folder / f'{stem}_peft_{library}'
    kind = '_timm' if to == 'timm' else ''
    return folder / f'{stem}{kind}{FORMATS[to].endings[0]}'


def _check_out(
    out: Path, to: str, run: TrainedRun, force: bool, is_default: bool
) -> None:
    """Refuse a place that can't be written, is read or holds something else."""
    inputs = [run.checkpoint, run.config]
    if is_default:
        out.parent.mkdir(exist_ok=True)
    if to == 'peft':
        if out.is_file():
            raise ValueError(f'{str(out)!r} is a file: --out names a folder for peft.')
        check_output(out / WEIGHTS_FILE if out.exists() else out, '--out', inputs)
        holds_other = out.exists() and any(out.iterdir())
        if holds_other and not (out / 'adapter_config.json').is_file():
            raise ValueError(
                f'{str(out)!r} holds something else than an adapter: name another folder '
                'with --out.'
            )
    elif to in ('safetensors', 'mmpretrain'):
        check_merged(out, '--out', inputs)
        holds_other = out.exists()
    else:
        check_output(out, '--out', inputs, FORMATS[to].endings)
        holds_other = out.exists()
    if holds_other and not force:
        raise ValueError(f'{str(out)!r} exists: name another place, or use --force.')


def _functions(
    trained: TrainedClassifier,
    out: Path,
    to: str,
    pixels: bool,
    library: str,
    name: str | None,
) -> tuple[Callable[[], str], Callable[[Tensor], Tensor]]:
    """What writes a format, and what reads it and gives the logits of images."""
    if to == 'onnx':
        return (
            lambda: write_onnx(trained, out, pixels),
            lambda images: onnx_logits(trained, out, images, pixels),
        )
    if to == 'torch-export':
        return (
            lambda: write_program(trained, out, pixels),
            lambda images: program_logits(trained, out, images, pixels),
        )
    if to == 'timm':
        return (
            lambda: write_timm(trained, out, name),
            lambda images: timm_logits(trained, out, images, name),
        )
    if to == 'peft':
        return (
            lambda: write_lora(trained, out, library, name),
            lambda images: lora_logits(trained, out, images, library, name),
        )
    return (
        lambda: write_stock(trained, out),
        lambda images: stock_logits(trained, out, images),
    )
