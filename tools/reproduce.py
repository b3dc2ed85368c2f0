"""Run a table of experiments: python tools/reproduce.py TABLE."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['reproduce', *sys.argv[1:]])
