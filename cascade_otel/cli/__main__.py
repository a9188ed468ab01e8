"""``python -m cascade_otel.cli``."""

import sys

from cascade_otel.cli import main

sys.exit(main())
