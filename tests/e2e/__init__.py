"""What is deployed on the local stack. A package, so that its stack goes when its last test has run."""
