"""Visualization: drawings of poses and plots of trainings."""
