"""The default bundle: its material, its recipe and its card."""
