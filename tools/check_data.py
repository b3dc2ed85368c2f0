"""Check the data sets under a folder: python tools/check_data.py ROOT."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['check-data', *sys.argv[1:]])
