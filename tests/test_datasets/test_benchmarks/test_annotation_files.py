"""What files of annotations may hold; hostile ones are in tests/test_reliability."""

import struct

import numpy as np
import pytest
from scipy.io import savemat

from mmdmlora.datasets.benchmarks.annotation_files import read_mat


@pytest.mark.parametrize('compressed', [True, False])
def test_lists_of_real_sizes_load(compressed, tmp_path):
    names = np.empty(12_000, dtype=object)
    names[:] = [f'n02085620-Chihuahua/n02085620_{i}' for i in range(12_000)]
    cars = np.zeros(16_185, dtype=[('fname', object), ('class', object)])
    cars['fname'], cars['class'] = '00001.jpg', 14.0
    labels = np.tile(np.array([14, 0, 0, 0, 1, 5], dtype=np.int32), 3000)
    content = {'annotation_list': names, 'annotations': cars, 'labels': labels}
    file = str(tmp_path / 'a.mat')
    savemat(file, content, do_compression=compressed)
    assert read_mat(file, 'annotation_list').tolist() == names.tolist()
    assert read_mat(file, 'annotations')['fname'][-1] == '00001.jpg'
    assert read_mat(file, 'labels').tolist() == labels.tolist()


def matrix(order: str, kind: int, *dimensions: bytes) -> bytes:
    flags = struct.pack(f'{order}6I', 14, 10**6, 6, 8, kind, 0)
    name = struct.pack(f'{order}2I', 1, 6) + b'labels\0\0'
    return flags + b''.join(dimensions) + name


@pytest.mark.parametrize('order', ['<', '>'])
@pytest.mark.parametrize('kind', [1, 2, 3, 4])
@pytest.mark.parametrize('small', [True, False])
def test_cells_and_texts_that_claim_too_much_are_refused(order, kind, small, tmp_path):
    mark = struct.pack(f'{order}2H', 0x0100, 0x4D49)
    many = 2**31 - 1
    dimensions = struct.pack(f'{order}4I', 5, 8, many, 1)
    if small:
        dimensions = struct.pack(f'{order}2I', 4 << 16 | 5, many)
    content = b'MATLAB 5.0 MAT-file'.ljust(124) + mark + matrix(order, kind, dimensions)
    file = tmp_path / 'a.mat'
    file.write_bytes(content)
    with pytest.raises(ValueError, match='elements in them'):
        read_mat(str(file), 'labels')
