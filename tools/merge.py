"""Merge a checkpoint: python tools/merge.py CONFIG CHECKPOINT OUT."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['merge', *sys.argv[1:]])
