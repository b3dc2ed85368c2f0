"""Reading images so that a damaged one is never taken for a whole one."""

from __future__ import annotations

import io
import os
import stat

import mmcv
import numpy as np
from mmcv.transforms import LoadImageFromFile as MMCVLoadImageFromFile
from mmengine.fileio import LocalBackend, get_file_backend
from PIL import Image, UnidentifiedImageError

from ...registry import TRANSFORMS
from .header import find_cut


@TRANSFORMS.register_module()
class LoadImageFromFile(MMCVLoadImageFromFile):
    """Load an image, and refuse one that is empty, cut off or can't be decoded.

    In scope ``mmdmlora`` it takes the place of mmcv's, with the same result for whole
    images; elsewhere its name is ``mmdmlora.LoadImageFromFile``. Before version 5,
    OpenCV decodes a JPEG file that is cut off to a picture that is partly grey, and
    mmcv's takes that.

    Required keys: ``img_path``. Added keys: ``img``, ``img_shape`` and ``ori_shape``.

    There is no ``ignore_empty``: with it, another image would be trained on in the place
    of a damaged one, and nothing would tell. The data sets have ``skip_corrupt``.

    Args:
        to_float32 (bool): Whether the image is made float32. Defaults to False, uint8.
        color_type (str): See :func:`mmcv.imfrombytes`. Defaults to 'color'.
        imdecode_backend (str): See :func:`mmcv.imfrombytes`. Defaults to 'cv2'.
        backend_args (dict, optional): Arguments of mmengine's file backend.

    Note:
        Changed bytes in the middle of a JPEG, BMP, TIFF or WebP file can't be seen:
        these formats have no checksum, and the picture is decoded to the end.
    """

    def __init__(
        self,
        to_float32: bool = False,
        color_type: str = 'color',
        imdecode_backend: str = 'cv2',
        *,
        backend_args: dict | None = None,
    ):
        super().__init__(
            to_float32, color_type, imdecode_backend, backend_args=backend_args
        )

    def transform(self, results: dict) -> dict:
        """Add the image of ``results['img_path']``.

        Raises:
            ValueError: If it is damaged, with the file, the fault and the remedy.
            OSError: If the operating system can't read the file.
        """
        path = results['img_path']
        img, fault = self.load(path)
        if fault:
            raise ValueError(
                f'The image {str(path)!r} {fault}. Fetch it again; python '
                'tools/check_data.py FOLDER looks for others. VTAB1k, FGVC, FewShotFGVC '
                'and mmdmlora.CustomDataset leave such images out with '
                'skip_corrupt=True: '
                '--cfg-options train_dataloader.dataset.skip_corrupt=True.'
            )
        results['img'] = img.astype(np.float32) if self.to_float32 else img
        results['img_shape'] = results['ori_shape'] = img.shape[:2]
        return results

    def load(self, path: str) -> tuple[np.ndarray | None, str | None]:
        """Read and decode an image file.

        Training, ``skip_corrupt`` and the check of the data on disk all judge a file by
        this method.

        Args:
            path: The file.

        Returns:
            The image and None, or, if that is no whole image, None and what is wrong:
            'is missing', 'is a folder', 'is no regular file', 'is empty', 'is cut off',
            'is not an image' or 'cannot be decoded by' the decoder.

        Raises:
            OSError: If the operating system can't read the file.
        """
        backend = get_file_backend(
            path, backend_args=self.backend_args, enable_singleton=True
        )
        if isinstance(backend, LocalBackend) and (fault := _find_no_file(path)):
            return None, fault
        content = backend.get(path)
        if fault := find_cut(content):
            return None, fault
        img, complaint = None, ''
        try:
            img = mmcv.imfrombytes(content, self.color_type, 'bgr', self.imdecode_backend)
        except Exception as error:  # Each decoder has kinds of its own.
            complaint = f' ({str(error).strip().partition(chr(10))[0]})'
        if img is not None:
            return img, None
        if not _has_known_format(content):
            return None, 'is not an image'
        return None, f'cannot be decoded by {self.imdecode_backend}{complaint}'


def _find_no_file(path: str) -> str | None:
    """What is there instead of a file; reading a pipe would wait for ever."""
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 'is missing'
    if stat.S_ISDIR(mode):
        return 'is a folder'
    return None if stat.S_ISREG(mode) else 'is no regular file'


def _has_known_format(content: bytes) -> bool:
    """Whether Pillow knows the format of what couldn't be decoded."""
    try:
        Image.open(io.BytesIO(content)).close()
    except UnidentifiedImageError:
        return False
    except Exception:  # Each format's reader has kinds of its own.
        return True
    return True
