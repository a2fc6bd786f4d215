"""Tools that are never deployed: command line, local stack and helpdesk simulators."""
