"""Spine workflow: labels discs, vertebrae, canal and cord in two steps (TotalSpineSeg)."""
