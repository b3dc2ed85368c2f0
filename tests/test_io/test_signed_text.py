"""A signed file shows whether it was changed."""

import pytest

from mmdmlora.io import is_unchanged, write_signed


def test_a_signed_file_is_the_same_python(tmp_path):
    file = tmp_path / 'a.py'
    write_signed("x = 'ä'\n", file)
    scope = {}
    exec(file.read_text(encoding='utf-8'), scope)
    assert scope['x'] == 'ä' and is_unchanged(file)
    write_signed('x = 2\n', file)
    assert is_unchanged(file)


@pytest.mark.parametrize(
    'change',
    [
        lambda text: text + '# mine\n',
        lambda text: text.replace('1', '2', 1),
        lambda text: '\n' + text,
        lambda text: text.partition('\n')[2],
        lambda text: '',
    ],
)
def test_any_change_is_seen(tmp_path, change):
    file = tmp_path / 'a.py'
    write_signed('x = 1\n', file)
    file.write_text(change(file.read_text()))
    assert not is_unchanged(file)


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / 'a.py').write_bytes(b'\xff\xfe\x00')
    assert not is_unchanged(tmp_path / 'a.py')
