"""Files are whole or not there."""

import errno
import os
import resource
import stat
import subprocess
import sys

import pytest

from mmdmlora.io.atomic import atomic_write, remove_partial_files


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_place_changes_when_the_block_has_ended(tmp_path):
    file = tmp_path / 'new' / 'x.bin'
    with atomic_write(file) as stream:
        stream.write(b'one')
        assert not file.exists()
    with atomic_write(file) as stream:
        stream.write(b'two')
        stream.flush()
        assert file.read_bytes() == b'one'
    assert file.read_bytes() == b'two'
    assert names(file.parent) == ['x.bin']


def test_an_error_in_the_block_leaves_the_old_content(tmp_path):
    file = tmp_path / 'x.bin'
    file.write_bytes(b'old')
    with pytest.raises(KeyError), atomic_write(file) as stream:
        stream.write(b'new')
        raise KeyError
    assert file.read_bytes() == b'old' and names(tmp_path) == ['x.bin']


def test_a_write_that_fails_half_way_names_the_file(tmp_path):
    file = tmp_path / 'x.bin'
    file.write_bytes(b'old')
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, limits[1]))
    try:
        with pytest.raises(OSError) as error, atomic_write(file) as stream:
            stream.write(bytes(2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert error.value.errno == errno.EFBIG and error.value.filename == str(file)
    assert file.read_bytes() == b'old' and names(tmp_path) == ['x.bin']


def test_a_killed_writer_leaves_a_partial_file_that_is_found_later(tmp_path):
    file = tmp_path / 'x.bin'
    file.write_bytes(b'old')
    code = (
        'import os, signal, sys; from mmdmlora.io.atomic import atomic_write\n'
        'with atomic_write(sys.argv[1]) as stream:\n'
        '    stream.write(bytes(100)); stream.flush()\n'
        '    os.kill(os.getpid(), signal.SIGKILL)'
    )
    killed = subprocess.run([sys.executable, '-c', code, str(file)])
    assert killed.returncode == -9
    assert file.read_bytes() == b'old' and len(names(tmp_path)) == 2
    (tmp_path / 'notes.partial').touch()
    remove_partial_files(tmp_path)
    assert names(tmp_path) == ['notes.partial', 'x.bin']


def test_a_link_is_followed_and_the_mask_of_permissions_holds(tmp_path):
    target, link = tmp_path / 'target', tmp_path / 'link'
    target.touch()
    link.symlink_to(target)
    mask = os.umask(0o027)
    try:
        with atomic_write(link) as stream:
            stream.write(b'x')
    finally:
        os.umask(mask)
    assert link.is_symlink() and target.read_bytes() == b'x'
    assert stat.S_IMODE(target.stat().st_mode) == 0o640


def test_a_folder_that_can_not_be_made(tmp_path):
    (tmp_path / 'file').touch()
    with (
        pytest.raises(OSError, match='file') as error,
        atomic_write(tmp_path / 'file' / 'x.bin'),
    ):
        pass
    assert error.value.errno in (errno.ENOTDIR, errno.EEXIST)
