"""`python -m gateway.cli` is `anhu`."""

import sys

from gateway.cli.main import main

sys.exit(main())
