"""Inference: trained models on images and videos."""
