"""`python -m tfdiscrete`."""

import sys

from tfdiscrete.cli import main

sys.exit(main())
