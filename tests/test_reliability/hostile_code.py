"""Files that ask for code when they are loaded."""

from __future__ import annotations

import copyreg
import functools
import io
import os
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

from mmdmlora.io import atomic_save, load_checkpoint_file
from tests.test_reliability.hostile_tool import (
    Case,
    Runs,
    attack,
    read_pickle,
    refusal,
    unsafe_load,
    unsafe_pickle,
    write_records,
)


def touch(trace: Path) -> str:
    return f'touch {trace}'


def opens(trace: Path) -> str:
    return f'open({str(trace)!r}, "w")'


def _import_chain(trace: Path) -> Runs:
    return Runs(Runs(getattr, Runs(__import__, 'os'), 'system'), touch(trace))


def _getattr_chain(trace: Path) -> Runs:
    """From a method that stock checkpoints name to the built-in functions."""

    def item(container, key: str) -> Runs:
        return Runs(Runs(getattr, container, '__getitem__'), key)

    names = Runs(getattr, HistoryBuffer.update, '__globals__')
    return Runs(item(item(names, '__builtins__'), 'eval'), opens(trace))


PAYLOADS = {
    '`os.system`': lambda trace: Runs(os.system, touch(trace)),
    '`eval`': lambda trace: Runs(eval, opens(trace)),
    '`exec`': lambda trace: Runs(exec, opens(trace)),
    '`__import__`, then `os.system`': _import_chain,
    '`getattr` again and again up to `eval`': _getattr_chain,
    'a function of mmdmlora that writes files': lambda trace: Runs(
        atomic_save, {}, str(trace)
    ),
}
SYSTEM = PAYLOADS['`os.system`']


def saved(payload: Callable, **options) -> Callable:
    def write(file: Path, trace: Path) -> None:
        torch.save({'state_dict': {'weight': payload(trace)}}, file, **options)

    return write


def _raw(template: bytes) -> Case:
    """A checkpoint whose pickle is written by hand."""

    def write(file: Path, trace: Path) -> None:
        write_records(file, template.replace(b'CODE', touch(trace).encode()))

    def unsafe(file: Path) -> None:
        pickle.loads(read_pickle(file))

    return attack(write, unsafe)


def _extension(folder: Path) -> str:
    copyreg.add_extension('os', 'system', 240)
    try:
        return _raw(b'\x80\x02\x82\xf0(S"CODE"\ntR.')(folder)
    finally:
        copyreg.remove_extension('os', 'system', 240)
        copyreg.clear_extension_cache()


def _dump(file: Path, trace: Path, protocol: int) -> None:
    file.write_bytes(pickle.dumps(dict(state_dict=SYSTEM(trace)), protocol=protocol))


def _write_tar(file: Path, trace: Path) -> None:
    nothing = pickle.dumps(0) + pickle.dumps([])
    with tarfile.open(file, 'w') as tar:
        for name, content in {
            'storages': nothing,
            'tensors': nothing,
            'pickle': pickle.dumps(SYSTEM(trace)),
        }.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def _harmless(write: Callable[[Path], None]) -> Case:
    def case(folder: Path) -> str:
        write(folder / 'x.pth')
        return refusal(load_checkpoint_file, folder / 'x.pth')

    return case


def _torchscript(file: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), file)


def _methods_in_a_buffer(folder: Path) -> str:
    buffer = HistoryBuffer([1.0, 3.0], [1, 1])
    vars(buffer).update(_statistics_methods={'mean': OrderedDict}, update=OrderedDict)
    torch.save({'buffer': buffer}, folder / 'x.pth')
    before = dict(HistoryBuffer._statistics_methods)
    assert unsafe_load(folder / 'x.pth')['buffer'].update is OrderedDict
    HistoryBuffer._statistics_methods.clear()
    HistoryBuffer._statistics_methods.update(before)
    loaded = load_checkpoint_file(folder / 'x.pth')['buffer']
    assert HistoryBuffer._statistics_methods == before
    assert set(vars(loaded)) == set(vars(HistoryBuffer([1.0], [1])))
    return f'(It loads, without the methods: the mean is {loaded.statistics("mean")}.)'


def _write_npz(file: Path, trace: Path) -> None:
    np.savez(file, weight=np.array([SYSTEM(trace)], dtype=object))


def _write_npz_header(file: Path, trace: Path) -> None:
    np.savez(file, weight=np.zeros(1))
    header = f'{{"descr": {opens(trace)}, "shape": (1,)}}\n'
    with zipfile.ZipFile(file, 'w') as archive:
        start = b'\x93NUMPY\x01\x00' + len(header).to_bytes(2, 'little')
        archive.writestr('weight.npy', start + header.encode())


def _run_npz_header(file: Path) -> None:
    with zipfile.ZipFile(file) as archive:
        eval(archive.read('weight.npy')[10:])


_RAW = {
    'REDUCE': b'\x80\x02cos\nsystem\n(S"CODE"\ntR.',
    'INST': b'(S"CODE"\nios\nsystem\n.',
    'OBJ': b'(cos\nsystem\nS"CODE"\no.',
    'BUILD (a state with `__setstate__`)': (
        b'\x80\x02cargparse\nNamespace\n)\x81}S"__setstate__"\ncos\nsystem\nsbS"CODE"\nb.'
    ),
}
CASES: dict[str, Case] = {
    **{
        f'a checkpoint that calls {what}': attack(saved(payload), unsafe_load)
        for what, payload in PAYLOADS.items()
    },
    'a HistoryBuffer whose state replaces its methods': _methods_in_a_buffer,
    **{f'the pickle operation {name}': _raw(code) for name, code in _RAW.items()},
    'the pickle operation EXT1 (the extension registry)': _extension,
    '`os.system` in the format of PyTorch before 1.6': attack(
        saved(SYSTEM, _use_new_zipfile_serialization=False), unsafe_load
    ),
    '`os.system` in the tar format of the first versions': attack(
        _write_tar, unsafe_load
    ),
    **{
        f'`os.system`, written by `pickle.dump`, protocol {protocol}': attack(
            functools.partial(_dump, protocol=protocol), unsafe_pickle
        )
        for protocol in (0, 2, 4)
    },
    'numbers, written by `pickle.dump`': _harmless(
        lambda file: file.write_bytes(pickle.dumps(dict(weight=1)))
    ),
    'numbers, with `torch.save(..., pickle_protocol=4)`': _harmless(
        lambda file: torch.save(dict(weight=1), file, pickle_protocol=4)
    ),
    'a whole module instead of its state dict': _harmless(
        lambda file: torch.save(torch.nn.Linear(1, 1), file)
    ),
    'a TorchScript archive': _harmless(_torchscript),
    'an .npz file with an array of objects': attack(
        _write_npz, lambda file: np.load(file, allow_pickle=True)['weight'], name='x.npz'
    ),
    'an .npz file with code in the header of an array': attack(
        _write_npz_header, _run_npz_header, name='x.npz'
    ),
}
