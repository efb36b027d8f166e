"""Running trained models on images and videos."""
