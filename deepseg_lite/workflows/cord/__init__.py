"""Cord workflow: finds the spinal cord and crops images around it (sc-crop)."""
