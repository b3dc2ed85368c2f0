"""The documentation site: python -m sphinx -W --keep-going -b html docs build/docs."""

from sphinx.application import Sphinx

from mmdmlora import __version__

project = 'mmdmlora'
author = 'the mmdmlora authors'
release = version = __version__

extensions = [
    'myst_parser',
    'sphinx.ext.autodoc',
    'sphinx.ext.mathjax',
    'sphinx.ext.napoleon',
]
exclude_patterns = ['images']
highlight_language = 'text'
smartquotes = False  # they would change the options and messages that pages quote

myst_enable_extensions = ['amsmath', 'dollarmath']
myst_heading_anchors = 4

autodoc_member_order = 'bysource'
autodoc_typehints = 'none'
autodoc_inherit_docstrings = False  # mmengine's say nothing of what is done here

html_theme = 'furo'
html_title = f'mmdmlora {version}'
html_copy_source = False
html_show_copyright = False
html_static_path = ['static']
html_css_files = ['site.css']

# Pages outside of this folder that are part of the site, and where they are included.
INCLUDED = {'README.md': 'overview.md', 'CHANGELOG.md': 'changelog.md'}


def link_included_pages(app: Sphinx, page: str, source: list[str]) -> None:
    """Let links to pages outside of this folder lead to where the site has them."""
    for outside, inside in INCLUDED.items():
        source[0] = source[0].replace(f'](../{outside}', f']({inside}')


def setup(app: Sphinx) -> None:
    app.connect('source-read', link_included_pages)
