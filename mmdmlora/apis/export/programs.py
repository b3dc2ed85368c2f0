"""The classifier as a program: ONNX and torch.export."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from mmpretrain.models.utils.attention import ShiftWindowMSA
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from mmdmlora._requirements import extra
from mmdmlora.io import atomic_write

from .classifier import TrainedClassifier, sample_images

# Sizes of 0 and 1 are taken as constants.
TRACED_IMAGES = 2
BATCHES = (1, 3)


class Network(nn.Module):
    """The logits of preprocessed images.

    Args:
        model: The classifier.

    Shape:
        ``(N, 3, H, W)`` to ``(N, classes)``.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)


class NetworkOfPixels(Network):
    """The logits of decoded images of the model's size, normalised inside.

    Args:
        model: The classifier, whose preprocessing says how.

    Shape:
        RGB, uint8, ``(N, H, W, 3)`` to ``(N, classes)``.

    Raises:
        ValueError: If the preprocessing pads.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        preprocessor: Any = model.data_preprocessor
        if preprocessor.pad_size_divisor > 1:
            raise ValueError(
                'the preprocessing pads images (pad_size_divisor), which the exported '
                'program can not do: leave out --with-preprocessing.'
            )
        # What it has read is BGR.
        self.reads_rgb = bool(preprocessor.to_rgb)
        normalises = preprocessor._enable_normalize
        mean = preprocessor.mean if normalises else torch.zeros(1, 1, 1)
        std = preprocessor.std if normalises else torch.ones(1, 1, 1)
        self.register_buffer('mean', mean.clone())
        self.register_buffer('std', std.clone())

    def forward(self, images: Tensor) -> Tensor:
        mean, std = self.get_buffer('mean'), self.get_buffer('std')
        pixels = images.permute(0, 3, 1, 2).float()
        if not self.reads_rgb:
            pixels = pixels.flip(1)
        return super().forward((pixels - mean) / std)


def write_program(trained: TrainedClassifier, out: Path, with_preprocessing: bool) -> str:
    """Write a program of ``torch.export`` with any number of images."""
    program = _traced(trained, with_preprocessing)
    with atomic_write(out) as stream:
        torch.export.save(program, stream)
    return (
        f'model = torch.export.load({str(out)!r}).module()\n'
        f'# reads {_describe(trained, program)}'
    )


def program_logits(
    trained: TrainedClassifier, out: Path, images: Tensor, with_preprocessing: bool
) -> Tensor:
    """The logits of the program that was written, in batches of several sizes."""
    network = torch.export.load(out).module()
    inputs = images if with_preprocessing else trained.inputs(images)
    with torch.no_grad():
        return torch.cat([network(part) for part in inputs.split(list(BATCHES))])


def write_onnx(trained: TrainedClassifier, out: Path, with_preprocessing: bool) -> str:
    """Write an ONNX model with any number of images, and the classes as metadata."""
    with extra('export'):
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    program = _traced(trained, with_preprocessing)
    with redirect_stdout(StringIO()):
        model = torch.onnx.export(
            program,
            dynamo=True,
            verbose=False,
            input_names=['images'],
            output_names=['logits'],
        )
    assert model is not None
    metadata = model.model.metadata_props
    metadata['classes'] = json.dumps(trained.classes)
    metadata['input'] = _describe(trained, program)
    with atomic_write(out) as stream:
        stream.write(model.model_proto.SerializeToString())
    return (
        f'session = onnxruntime.InferenceSession({str(out)!r})\n'
        "session.run(None, {'images': images})\n"
        f'# images: {_describe(trained, program)}'
    )


def onnx_logits(
    trained: TrainedClassifier, out: Path, images: Tensor, with_preprocessing: bool
) -> Tensor:
    """The logits that ONNX Runtime gives, in batches of several sizes."""
    with extra('export'):
        import onnxruntime
    session = onnxruntime.InferenceSession(str(out), providers=['CPUExecutionProvider'])
    inputs = images if with_preprocessing else trained.inputs(images)
    return torch.cat(
        [
            torch.from_numpy(session.run(None, {'images': part.numpy()})[0])
            for part in inputs.split(list(BATCHES))
        ]
    )


def _traced(trained: TrainedClassifier, with_preprocessing: bool) -> ExportedProgram:
    images = sample_images(trained.size, TRACED_IMAGES)
    try:
        model = trained.merged
    except ValueError:  # a method without a merged form is traced as it is
        model = trained.model
    network = (NetworkOfPixels if with_preprocessing else Network)(model).eval()
    inputs = images if with_preprocessing else trained.inputs(images)
    shapes = ({0: Dim('batch')},)
    with torch.no_grad(), _any_number_of_windows():
        try:
            return torch.export.export(network, (inputs,), dynamic_shapes=shapes)
        except (torch._dynamo.exc.UserError, RuntimeError) as error:
            raise ValueError(
                f'torch.export can not trace {type(network.model).__name__} for any '
                f'number of images: {str(error).strip().splitlines()[0]} Export its '
                'weights to safetensors or mmpretrain instead.'
            ) from error


def _describe(trained: TrainedClassifier, program: ExportedProgram) -> str:
    """What a program reads, in words."""
    value = program.example_inputs[0][0]
    side = trained.size
    if value.dtype == torch.uint8:
        return f'RGB images, uint8, (N, {side}, {side}, 3), resized to {side} pixels'
    return f'preprocessed images, float32, (N, 3, {side}, {side})'


@contextmanager
def _any_number_of_windows() -> Iterator[None]:
    """Let mmpretrain's Swin compute the number of images without a fixed one.

    It divides floating-point numbers and rounds, which makes a constant of the batch.
    """
    before = ShiftWindowMSA.window_reverse

    def window_reverse(windows: Tensor, H: int, W: int, window_size: int) -> Tensor:
        rows, columns, width = H // window_size, W // window_size, windows.shape[-1]
        x = windows.view(-1, rows, columns, window_size, window_size, width)
        return x.permute(0, 1, 3, 2, 4, 5).reshape(-1, H, W, width)

    ShiftWindowMSA.window_reverse = staticmethod(window_reverse)
    try:
        yield
    finally:
        ShiftWindowMSA.window_reverse = staticmethod(before)
