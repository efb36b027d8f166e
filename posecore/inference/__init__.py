"""Running trained models on images and videos.

predictor          a trained model with its samples and, where it needs one, its detector
video              reads images from files, folders, videos, cameras and streams
plan               names of images, and which files a prediction writes
image_boxes        boxes of persons from a file, for images by their names
prediction_writer  writes drawings, films and poses.json
predict            all of these together, as tools/predict.py runs them
load_model         the trained model of a configuration, for analyses
"""
