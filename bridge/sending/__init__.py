"""What is sent to a stack: sample files, the ways in, and how a form service signs."""
