"""Joins the parts, with one module for each handler: it imports what that handler uses, and nothing else."""

import gc
import warnings

# Loading a handler makes no garbage worth looking for; `entry` lets the collector go again.
gc.disable()

# The layer leaves out what guesses the encoding of texts: bodies are bytes here, and it costs 2 % of a start.
warnings.filterwarnings("ignore", message="Unable to find acceptable character detection dependency")
