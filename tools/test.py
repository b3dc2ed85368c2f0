"""Test a checkpoint: python tools/test.py CONFIG CHECKPOINT."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['test', *sys.argv[1:]])
