"""The trial: its data folder, and the walk through the documented workflow."""
