"""Print the tables of docs/backbones.md: ``python -m tests.sweep``."""

from .attempt import row
from .mmpretrain import LEFT_OUT, MMPRETRAIN
from .timm import TIMM

HEADER = '| backbone | targets | result |\n|---|---|---|'

if __name__ == '__main__':
    print(HEADER)
    for name in MMPRETRAIN:
        print(row(name), flush=True)
    for name, reason in LEFT_OUT.items():
        print(f'| `{name}` | - | left out: {reason} |')
    print(f'\n{HEADER}')
    for name in TIMM:
        print(row(name), flush=True)
