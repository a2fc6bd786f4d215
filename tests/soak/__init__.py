"""A local deployment in trouble under load, and a count of what was lost, doubled or left in doubt."""

import sys

from bridge.local.state import PROJECT

# The handlers are imported here exactly as Lambda imports them.
sys.path.insert(0, str(PROJECT / "functions"))
