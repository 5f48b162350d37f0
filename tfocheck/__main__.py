"""``python -m tfocheck``."""

import sys

from tfocheck.cli import main

sys.exit(main())
