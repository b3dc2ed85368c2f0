"""The files of a report."""

import re
import sys
from html.parser import HTMLParser

import pytest
from PIL import Image

from mmdmlora._requirements import MissingExtraError
from mmdmlora.experiments.claims import check_claims
from mmdmlora.experiments.report import write_report
from mmdmlora.experiments.report.cells import Grid
from mmdmlora.experiments.report.document import html_page, markdown_table
from tests.invented_outcomes import accuracies, outcome, with_scales


def write(outcomes, folder, **changes):
    texts = dict(
        title='Mini suite',
        protocol='Protocol **val**: settings chosen on 200 images.',
        commands=['mmdmlora reproduce all --suite mini'],
    )
    claims = check_claims(outcomes)
    return write_report(outcomes, folder, claims=claims, **{**texts, **changes})


class Page(HTMLParser):
    """The texts of table cells and the addresses of a page; tags must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.addresses: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.addresses += [v for name, v in attrs if name in ('src', 'href')]
        if tag not in ('meta', 'img', 'br', 'link'):
            self.open.append(tag)
        if tag in ('td', 'th'):
            self.cells.append('')

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ('td', 'th'):
            self.cells[-1] += data


def test_a_report_has_all_its_files(tmp_path):
    outcomes = [
        *with_scales(accuracies({'LoRA': 0.0, 'DMLoRA-LS': 3.0}, seeds=[0, 1])),
        *accuracies({'LoRA': 0.0}, {'pets': 'few-shot'}, [('1', 0.0), ('2', 0.0)]),
    ]
    outcomes = [*outcomes[:20], *(_in_figure(o) for o in outcomes[20:])]
    page = write(outcomes, tmp_path / 'new')
    assert page == tmp_path / 'new' / 'report.html'
    text = (page.parent / 'report.md').read_text()
    pictures = re.findall(r'!\[.+\]\((.+)\)', text)
    assert len(pictures) == 3
    for address in pictures:
        with Image.open(page.parent / address) as image:
            assert image.width > 600
    assert {p.name for p in page.parent.glob('*.csv')} == {'table3.csv', 'fig2.csv'}
    for part in ('# Mini suite', 'Protocol **val**', 'mmdmlora reproduce all', 'LoRA'):
        assert part in text


def test_nothing_of_an_earlier_report_is_left(tmp_path):
    outcomes = with_scales(accuracies({'LoRA': 0.0, 'DMLoRA-LS': 3.0}))
    write(outcomes, tmp_path)
    plots = {*tmp_path.glob('plots/*.png')}
    (tmp_path / 'mine.csv').touch()
    write([_in_figure(one) for one in accuracies({'LoRA': 0.0})], tmp_path)
    assert not plots & {*tmp_path.glob('plots/*.png')}
    assert {file.name for file in tmp_path.glob('*.csv')} == {'fig2.csv', 'mine.csv'}


def _in_figure(one):
    return outcome(**{**vars(one), 'table': 'fig2'})


def test_the_page_stands_alone_and_says_what_the_markdown_does(tmp_path):
    page = Page(write(accuracies({'LoRA': 0.0, 'DMLoRA-LS': 3.0}), tmp_path).read_text())
    assert page.open == []
    assert page.addresses
    assert all(a.startswith('data:image/png;base64,') for a in page.addresses)
    text = (tmp_path / 'report.md').read_text()
    rows = [line[2:-2].split(' | ') for line in text.splitlines() if line[:2] == '| ']
    cells = [c.replace('\\', '') for row in rows if row[0] != '---' for c in row]
    assert page.cells == cells


def test_no_run_yet(tmp_path):
    text = write([], tmp_path).with_name('report.md').read_text()
    assert 'No run has finished yet.' in text and "can't be told" in text
    assert not (tmp_path / 'plots').exists()


@pytest.mark.parametrize(
    'name', ['a|b', '*x*', '<b>x</b>', '`x', 'a_b_c', '[x](y)', '\\']
)
def test_names_stay_as_they_are(name):
    table = markdown_table(Grid('', ['method', 'x'], [[name, '1']]))
    assert Page(html_page('x', table, {})).cells == ['method', 'x', name, '1']


def test_a_title_is_no_markup(tmp_path):
    page = write([], tmp_path, title='a < b & <script>').read_text()
    assert '<title>a &lt; b &amp; &lt;script&gt;</title>' in page
    assert '<script>' not in page


@pytest.mark.parametrize('package', ['matplotlib.figure', 'markdown_it'])
def test_what_to_install_is_said(package, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r'pip install "mmdmlora\[experiments\]"'):
        write(accuracies({'LoRA': 0.0, 'DMLoRA': 0.0}), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_claims_that_no_run_is_about_are_not_listed(tmp_path):
    outcomes = accuracies({'LoRA': 0.0, 'LoRA, dropout': 1.0}, table='study')
    text = write(outcomes, tmp_path).with_name('report.md').read_text()
    assert 'None of them is about these runs.' in text and "can't be told" not in text
