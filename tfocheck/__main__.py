"""``python -m tfocheck``."""

import sys

from tfocheck.cli.script import main

sys.exit(main())
