"""Export a trained classifier: python tools/export.py RUN --to FORMAT."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['export', *sys.argv[1:]])
