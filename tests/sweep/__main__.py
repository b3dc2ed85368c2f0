"""Print the tables of docs/backbones.md."""

from .attempt import row
from .mmpretrain import MMPRETRAIN
from .timm import TIMM

for backbones in (MMPRETRAIN, TIMM):
    print('| backbone | targets | result |\n|---|---|---|')
    for name in backbones:
        print(row(name), flush=True)
    print()
