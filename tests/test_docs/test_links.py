"""Links, names of files and names of the API on the pages."""

import re

import pytest

from mmdmlora import datasets, engine, models
from tests.imports import ROOT
from tests.test_docs.pages import PAGES, anchors, links, name_of, tokens


def broken(page, link: str) -> str | None:
    """What is wrong with a link."""
    path, _, anchor = link.partition('#')
    target = (page.parent / path).resolve() if path else page
    if not target.exists():
        return f'{link}: there is no such file'
    if not target.is_relative_to(ROOT):
        return f'{link}: leads out of the repository'
    if anchor and anchor not in anchors(target):
        return f'{link}: {name_of(target)} has no such heading'
    return None


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_links_and_anchors_resolve(page):
    faults = [fault for link in links(page) if (fault := broken(page, link))]
    assert not faults


def test_faults_are_seen(tmp_path):
    page = ROOT / 'docs' / 'methods.md'
    assert broken(page, 'none.md') and broken(page, '#none')
    assert broken(page, 'data.md#vtab-2k') and broken(page, '../../x')
    assert broken(page, 'data.md#vtab-1k') is None
    twice = tmp_path / 'twice.md'
    twice.write_text('# A `b`: c_d!\n\n## Use\n\n## Use\n\n[x](y.md) ![z](z.png)\n')
    assert anchors(twice) == {'a-b-c_d', 'use', 'use-1'}
    assert links(twice) == ['y.md', 'z.png']


@pytest.mark.parametrize('page', PAGES, ids=name_of)
def test_tools_and_modules_that_a_page_names_exist(page):
    text = '\n'.join(token.content for token in tokens(page))
    for tool in set(re.findall(r'\btools/\w+\.(?:py|sh)', text)):
        assert (ROOT / tool).is_file(), tool
    for file in set(re.findall(r'\bmmdmlora/[\w/]+\.py', text)) - {EXAMPLE}:
        assert (ROOT / file).is_file(), file


# The method that docs/extending.md adds; tests/test_extending.py runs it.
EXAMPLE = 'mmdmlora/models/methods/ssf_model.py'
DATA = {'BENCHMARKS', 'VTAB_TASKS', 'FGVC_TASKS', 'FEWSHOT_TASKS'}


def test_the_api_has_every_public_name():
    pages = '\n'.join(p.read_text() for p in (ROOT / 'docs' / 'api').glob('*.md'))
    described = re.findall(r'^\.\. auto\w+:: [\w.]*?(\w+)$', pages, re.MULTILINE)
    assert len(set(described)) == len(described)
    public = {*models.__all__, *engine.__all__, *datasets.__all__, 'Predictor'}
    assert public - DATA <= {*described}
