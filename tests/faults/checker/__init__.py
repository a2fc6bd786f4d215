"""Drives the true layer through seeded schedules on a virtual clock, and judges what came of its promises."""
