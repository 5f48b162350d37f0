"""``python -m tfocheck``."""

import sys

from tfocheck.cli.main import main

sys.exit(main())
