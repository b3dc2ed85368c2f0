"""LoRA and DMLoRA work or refuse on each backbone as docs/backbones.md says."""

import re
from pathlib import Path

import mmpretrain.models.backbones as stock
import pytest

from tests.sweep.attempt import BACKBONES, row
from tests.sweep.mmpretrain import LEFT_OUT, MMPRETRAIN
from tests.sweep.timm import TIMM

PAGE = Path(__file__).parents[2] / 'docs' / 'backbones.md'
ROWS = {
    name: line
    for line in PAGE.read_text().splitlines()
    for name in re.findall(r'^\| `(\w+)`', line)
}


@pytest.mark.parametrize('name', BACKBONES)
def test_backbone_does_what_the_page_says(name):
    assert row(name) == ROWS[name]


def test_the_page_has_all_of_mmpretrain_and_forty_of_timm():
    assert {*MMPRETRAIN, *LEFT_OUT} == {*stock.__all__}
    assert len(TIMM) >= 40
    assert [*ROWS] == [*MMPRETRAIN, *LEFT_OUT, *TIMM]
    for name, reason in LEFT_OUT.items():
        assert ROWS[name] == f'| `{name}` | - | left out: {reason} |'
