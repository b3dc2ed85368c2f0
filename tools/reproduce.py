"""Run a table of experiments: python tools/reproduce.py TABLE."""

import argparse
from pathlib import Path

from mmdmlora.apis.cli import user_errors
from mmdmlora.apis.reproduce import TABLES, reproduce

CONFIGS = Path(__file__).parents[1] / 'configs'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('table', help=f'one of {list(TABLES)}')
    parser.add_argument('--work-dir', type=Path, default=Path('work_dirs/reproduce'))
    args = parser.parse_args()
    with user_errors():
        text = reproduce(args.table, CONFIGS, args.work_dir)
    print(f'\n{text}')


if __name__ == '__main__':
    main()
