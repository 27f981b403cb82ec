"""`python -m pipelines` with one domain more, which is registered by the public call."""

import sys

from sums_spec import DOMAIN

from pipelines.__main__ import main
from pipelines.domains import register

if __name__ == "__main__":
    register(DOMAIN)
    sys.exit(main(sys.argv[1:]))
