from unittest import mock

from mmdmlora.io import Journal


def test_names_are_there_until_the_end(tmp_path):
    path = tmp_path / '.changing'
    journal = Journal(path)
    assert journal.read() == []
    journal.add(['b.pth'])
    journal.add(['a.pth', 'b.pth'])
    assert Journal(path).read() == ['a.pth', 'b.pth']
    journal.close()
    assert not path.exists() and Journal(path).read() == []


def test_nothing_new_writes_nothing(tmp_path):
    journal = Journal(tmp_path / '.changing')
    journal.add(['a.pth'])
    with mock.patch('mmdmlora.io.journal.atomic_write', side_effect=AssertionError):
        journal.add(['a.pth'])
        journal.add([])
    Journal(tmp_path / '.other').close()
    assert (tmp_path / '.changing').exists()
