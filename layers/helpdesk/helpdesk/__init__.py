"""Talks to a helpdesk, remembers what was asked, and answers: the layer that all functions share."""

import gc
import os
import warnings

if "AWS_LAMBDA_FUNCTION_NAME" in os.environ:
    # Loading a handler makes no garbage worth looking for: 6 to 9 % of a start. `Entry` enables it again.
    gc.disable()
    # The layer leaves out what guesses the encoding of texts: bodies are bytes, and it is 2 % of a start.
    warnings.filterwarnings("ignore", message="Unable to find acceptable character detection dependency")
