"""Checking trees of real counts, whole and with each kind of fault."""

import json

from mmdmlora.datasets.checker import as_json, as_text, check_task, find_tasks
from tests.linked_trees import fewshot_pets, flowers, kitti


def reports_on(root, **options):
    return [r for found in find_tasks(root) for r in check_task(found, **options)]


def replace(path, data):
    """Give a hard link content of its own."""
    path.unlink()
    path.write_bytes(data)


# Whole trees


def test_whole_trees_of_all_benchmarks(root, source):
    kitti(root / 'vtab-1k', source)
    flowers(root / 'fgvc', source)
    fewshot_pets(root / 'few-shot', source)
    reports = reports_on(root)
    assert [r.benchmark for r in reports] == ['VTAB-1k'] * 4 + ['FGVC'] * 3 + [
        'few-shot'
    ] * 17
    for report in reports:
        assert report.ok and report.found == report.expected and not report.notes
    by_name = {r.split: r.found for r in reports if r.benchmark == 'few-shot'}
    assert by_name['16-shot, seed 2'] == 592 and by_name['test'] == 3669
    assert as_json(reports)['ok'] is True
    assert 'all is well' in as_text(reports)


# Faults


def test_a_count_off_by_one_is_an_error(root, source):
    task = kitti(root, source)
    lines = (task / 'test.txt').read_text().splitlines(keepends=True)
    (task / 'test.txt').write_text(''.join(lines[1:]))
    *others, test = reports_on(root)
    assert all(report.ok for report in others)
    assert (test.found, test.expected, test.ok) == (710, 711, False)
    assert '710 images are listed where 711 are expected' in test.errors[0]


def test_broken_lists_are_errors(root, source):
    task = kitti(root, source)
    (task / 'train800.txt').unlink()
    (task / 'images/val200/000007.jpg').unlink()
    (task / 'test.txt').write_text('images/test/000000.jpg 4\n')
    train, val, both, test = reports_on(root)
    assert both.ok and not (train.ok or val.ok or test.ok)
    assert train.found is None and 'does not exist' in train.errors[0]
    assert 'val200/000007.jpg' in val.errors[0]
    assert 'the label 4 is not' in test.errors[0]


def test_bad_images_are_errors_unless_fast(root, source):
    task = kitti(root, source)
    data = source.read_bytes()
    replace(task / 'images/test/000003.jpg', data[:-2])
    replace(task / 'images/test/000005.jpg', b'')
    *others, test = reports_on(root)
    assert all(report.ok for report in others) and not test.ok
    assert test.bad_images == {
        str(task / 'images/test/000003.jpg'): 'is cut off',
        str(task / 'images/test/000005.jpg'): 'is empty',
    }
    assert all(report.ok for report in reports_on(root, fast=True))


def test_classes_without_a_test_image_are_noted(root, source):
    task = kitti(root, source)
    text = (task / 'test.txt').read_text().replace('.jpg 2\n', '.jpg 1\n')
    (task / 'test.txt').write_text(text)
    test = reports_on(root)[-1]
    assert test.ok
    assert test.notes == ['1 of 4 classes have no image: 2.']


def test_an_image_in_many_splits_is_opened_once(root, source, monkeypatch):
    fewshot_pets(root, source)
    opened = []
    monkeypatch.setattr('mmdmlora.datasets.checker.check.find_file_fault', opened.append)
    reports_on(root)
    assert len(opened) == len(set(opened)) == 16 * 37 + 736 + 3669


def test_progress_counts_to_the_end(root, source):
    kitti(root, source)
    steps = []
    check_task(find_tasks(root)[0], progress=lambda *step: steps.append(step))
    assert steps[-1] == (2711, 2711) and len(steps) > 5
    assert steps == sorted(steps)


def test_report_is_plain_and_complete(root, source):
    task = kitti(root, source)
    for i in range(7):
        replace(task / f'images/test/{i:06d}.jpg', b'')
    (task / 'val200.txt').unlink()
    reports = reports_on(root)
    text = as_text(reports)
    assert 'ERROR: list' in text and 'ERROR: 7 images' in text
    assert '7 images: the file is empty' in text and 'and 2 others' in text
    assert text.count('.jpg') == 5
    assert 'Not there, of VTAB-1k: cifar, caltech101,' in text
    assert text.endswith('4 splits, 2,511 images: 2 to be mended.')
    data = json.loads(json.dumps(as_json(reports)))
    assert data['ok'] is False and len(data['missing_tasks']['VTAB-1k']) == 18
    assert len(data['splits'][-1]['bad_images']) == 7


def test_names_that_are_no_utf8_do_not_stop_the_report(root, source):
    task = kitti(root, source)
    with open(task / 'test.txt', 'ab') as lines:
        lines.write(b'images/test/\xff.jpg 1\n')
    as_text(reports_on(root)).encode('utf-8')
