"""Which files are not loaded, and what the user reads then.

``torch.load(weights_only=True)`` runs no code from a file: it allows a list of names, and
refuses all others. What is added here is a bound on what an archive unpacks to, and a
message that names the reason and the remedy where PyTorch's advises to trust the file.
"""

from __future__ import annotations

import pickle
import pickletools
import re
import tarfile
import zipfile
from collections import deque
from typing import BinaryIO

from torch.serialization import MAGIC_NUMBER

ALWAYS_ALLOWED = 2**30
TIMES_FILE_SIZE = 10
ZIP_START = b'PK\x03\x04'
# The first of the five pickles that torch.save wrote before PyTorch 1.6.
LEGACY_START = pickle.dumps(MAGIC_NUMBER, protocol=2)
SAVE_WEIGHTS = 'save its state dict alone (torch.save or safetensors)'


class RefusedFile(ValueError):
    """A file that is not loaded.

    Args:
        reason: What is wrong with it, to be read after "refused, because".
        remedy: What to do where the file comes from.
    """

    def __init__(self, reason: str, remedy: str):
        super().__init__(f'{reason}. Where the file comes from, {remedy}')


def check_unpacked_size(stream: BinaryIO) -> None:
    """Refuse an archive that unpacks to more than 1 GiB and 10 times its own size.

    The sizes are those that the archive's directory states. ``torch.save`` doesn't
    compress, and trained weights hardly shrink; arrays of mostly zeros do, and have the
    gibibyte.

    Args:
        stream: The archive. It is wound back to its start.

    Raises:
        RefusedFile: If it is too large.
        zipfile.BadZipFile: If it is no zip archive.
    """
    size = stream.seek(0, 2)
    with zipfile.ZipFile(stream) as archive:
        unpacked = sum(record.file_size for record in archive.infolist())
    stream.seek(0)
    if unpacked > max(ALWAYS_ALLOWED, TIMES_FILE_SIZE * size):
        raise RefusedFile(
            f'it unpacks to {_human(unpacked)}, which is more than '
            f'{_human(ALWAYS_ALLOWED)} and more than {TIMES_FILE_SIZE} times the '
            f'{_human(size)} of the file',
            'save it without compression (torch.save, safetensors or np.savez)',
        )


def _human(num_bytes: int) -> str:
    """A size with three digits, such as ``1.25 GiB``."""
    power = max(0, min(4, (num_bytes.bit_length() - 1) // 10))
    unit = ('bytes', 'KiB', 'MiB', 'GiB', 'TiB')[power]
    return f'{num_bytes / 1024**power:.3g} {unit}'


def check_torch_file(stream: BinaryIO) -> None:
    """Refuse what ``torch.load`` should not even begin with.

    Args:
        stream: The file. It is wound back to its start.

    Raises:
        RefusedFile: If it has another format, or unpacks to too much.
        Exception: Of many kinds if it is damaged.
    """
    start = stream.read(len(LEGACY_START))
    if start.startswith(ZIP_START):
        check_unpacked_size(stream)
        _check_archive(stream)
    elif start != LEGACY_START:
        _refuse_other_format(stream)
    stream.seek(0)


def _check_archive(stream: BinaryIO) -> None:
    with zipfile.ZipFile(stream) as archive:
        names = archive.namelist()
        folder = names[0].partition('/')[0]
        if f'{folder}/constants.pkl' in names:
            raise RefusedFile(
                'it is a TorchScript archive, which is a program', SAVE_WEIGHTS
            )
        with archive.open(f'{folder}/data.pkl') as content:
            start = content.read(2)
    if start[:1] == pickle.PROTO and start[1:] != b'\x02':
        raise RefusedFile(
            f'its pickle has the protocol {start[1]}, and only 2 can be read without '
            'running code',
            'save it without a pickle_protocol',
        )


def _refuse_other_format(stream: BinaryIO) -> None:
    stream.seek(0)
    if tarfile.is_tarfile(stream):
        raise RefusedFile(
            'it has the tar format of the first versions of PyTorch, which can not be '
            'read without running code',
            SAVE_WEIGHTS,
        )
    stream.seek(0)
    if _is_pickle(stream):
        raise RefusedFile(
            'it was not written by torch.save but by another program, as a pickle, '
            'which may run code',
            SAVE_WEIGHTS,
        )
    raise ValueError('it does not begin like a file of torch.save')


def _is_pickle(stream: BinaryIO) -> bool:
    """Whether a file reads as a pickle from the start; nothing in it is executed."""
    try:
        deque(pickletools.genops(stream), maxlen=0)
    except Exception:
        return False
    return True


def explain(error: Exception) -> str:
    """One line on why a file can't be loaded, without advice to trust it.

    It goes by the words of PyTorch's messages; the refusal itself doesn't.
    """
    if isinstance(error, pickle.UnpicklingError):
        error = RefusedFile(_reason(str(error)), SAVE_WEIGHTS)
    if isinstance(error, RefusedFile):
        return f'refused, because {error}'
    detail = str(error).strip().partition('\n')[0]
    return (
        'it is no checkpoint, or it is cut off or damaged '
        f'({type(error).__name__}: {detail[:200]}). Copy or download it again'
    )


def _reason(message: str) -> str:
    """What ``torch.load(weights_only=True)`` refused."""
    if found := re.search(r'GLOBAL (\S+)', message):
        return f'it asks for {found[1]}, which may run code'
    if found := re.search(r'Unsupported operand (\d+)', message):
        code = chr(int(found[1]))
        names = {each.code: each.name for each in pickletools.opcodes}
        name = names.get(code, found[1])
        return (
            f'it uses the pickle operation {name}, which torch.save never writes and '
            'which may run code'
        )
    if 'Trying to call reduce for' in message:
        return 'it calls something that it has made, which may run code'
    detail = message.partition('WeightsUnpickler error:')[2].strip() or message
    return 'torch.load(weights_only=True) does not accept it: ' + detail.partition('\n')[
        0
    ][:200].rstrip('.')
