"""Write a page about runs: python tools/report.py RUN... [--out FILE]."""

import sys

from mmdmlora.cli import main

if __name__ == '__main__':
    main(['report', *sys.argv[1:]])
