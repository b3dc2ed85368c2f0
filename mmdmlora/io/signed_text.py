"""Python files that show whether someone changed them since they were written."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .atomic import atomic_write

SIGNATURE = '# Of a merged model; another merge replaces it only while unchanged: '


def write_signed(text: str, path: str | Path) -> None:
    """Write Python code below a comment with a hash of it, whole or not at all."""
    with atomic_write(path) as stream:
        stream.write(f'{SIGNATURE}{_hash(text)}\n{text}'.encode())


def is_unchanged(path: str | Path) -> bool:
    """Whether :func:`write_signed` wrote a file, and nobody changed it since."""
    try:
        first, _, text = Path(path).read_text(encoding='utf-8').partition('\n')
    except UnicodeDecodeError:
        return False
    return first == f'{SIGNATURE}{_hash(text)}'


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
