"""Train a model: python tools/train.py CONFIG."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['train', *sys.argv[1:]])
