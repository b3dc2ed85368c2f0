"""The images of a data set in one piece of memory."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
from mmengine.logging import print_log

from .records import join_record, read_record
from .shared_file import Handle, SharedFile


class StoreWriter:
    """Collects images, one behind the other; they may differ in size."""

    def __init__(self) -> None:
        self._file = SharedFile()
        self._starts = [0]
        self._shapes: list[tuple[int, ...]] = []
        self._records: list[bytes] = []
        self.size = 0
        """The bytes that the images take until now, with what stands beside them."""

    def append(self, pixels: np.ndarray, record: bytes) -> None:
        """Add an image.

        Raises:
            OSError: If there is no room.
        """
        self._file.append(pixels.reshape(-1).data)
        self._starts.append(self._file.size)
        self._shapes.append(pixels.shape)
        self._records.append(record)
        self.size += pixels.nbytes + len(record)

    def finish(self) -> ImageStore:
        """Write the index behind the images.

        Raises:
            OSError: If there is no room.
        """
        lengths = [0, *map(len, self._records)]
        records = self._file.size + np.cumsum(lengths)
        index = dict(starts=self._starts, shapes=self._shapes, records=records.tolist())
        self._file.append(b''.join(self._records))
        at = self._file.size
        self._file.append(json.dumps(index).encode())
        self._file.append(at.to_bytes(8, 'little'))
        self._file.finish()
        return ImageStore(self._file)


class ImageStore:
    """Reads the images that a :class:`StoreWriter` has written.

    A pickled store holds where the memory is, not the images. Where the memory can't be
    opened any more, None comes out, and a line of the log says so.

    Attributes:
        images (np.ndarray, optional): All images, of shape (N, ...), if they have one
            shape; read-only.
        size (int): The bytes of memory that they take.
    """

    def __init__(self, file: SharedFile) -> None:
        self._file = file
        end = file.size - len(file.handle.token) - 8
        at = int.from_bytes(file.content[end : end + 8], 'little')
        index = json.loads(bytes(file.content[at:end]))
        self._starts, self._records = index['starts'], index['records']
        self._shapes = [tuple(shape) for shape in index['shapes']]
        self._pixels = np.frombuffer(file.content, np.uint8)
        self.images = None
        if len(set(self._shapes)) == 1:
            shape = (len(self), *self._shapes[0])
            self.images = self._pixels[: self._starts[-1]].reshape(shape)
        self.size = file.size

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, index: int) -> dict:
        """What the pipeline returned for an image, as a new object."""
        pixels = self._pixels[self._starts[index] : self._starts[index + 1]]
        return join_record(
            pixels.reshape(self._shapes[index]).copy(), self._record(index)
        )

    def without_pixels(self, index: int) -> dict:
        """The same with None in the place of the image."""
        return read_record(self._record(index))

    @property
    def handle(self) -> Handle:
        """Where another process of the machine finds the memory."""
        return self._file.handle

    @classmethod
    def open(cls, handle: Handle) -> ImageStore:
        """The store of another process of the machine.

        Raises:
            OSError: If it can't be opened.
        """
        return cls(SharedFile.open(handle))

    def _record(self, index: int) -> memoryview:
        return self._file.content[self._records[index] : self._records[index + 1]]

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (self.handle,)

    def __deepcopy__(self, memo: dict) -> ImageStore:
        return self  # it can't be changed


def _reopened(handle: Handle) -> ImageStore | None:
    try:
        return ImageStore.open(handle)
    except OSError as error:
        print_log(
            f'The images in memory can not be opened in this process ({error}): the '
            'files are read.',
            logger='current',
            level=logging.WARNING,
        )
        return None
