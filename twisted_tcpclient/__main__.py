"""
``python -m twisted_tcpclient``
"""

import sys

from twisted_tcpclient.console import main

if __name__ == "__main__":
    sys.exit(main())
