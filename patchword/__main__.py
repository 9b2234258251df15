"""`python -m patchword` is the command line."""

import sys

from patchword.cli import main

sys.exit(main())
