"""Drawings of poses and plots of trainings."""
