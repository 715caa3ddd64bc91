"""Figures we quote, measured side by side in one run: ratios, medians, and what they were measured on."""
