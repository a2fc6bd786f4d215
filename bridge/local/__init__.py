"""What runs on this machine: the emulator, the helpdesk simulators, their processes and state."""
