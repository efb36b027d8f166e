"""Running trained models on images and videos.

predictor           a trained model with its samples and, where it needs one, its detector
exported_predictor  an exported ONNX model in the place of a trained one
half_network        divides a model in OpenVINO into its network and what keeps float32
onnx                an exported model without PyTorch and Detectron2; its parts:
onnx_description    what lies beside the exported model
onnx_inputs         images or crops for it
onnx_sessions       ONNX Runtime and OpenVINO
onnx_poses          what it finds
resize              resizes images as in training, without Pillow
video               reads images from files, folders, videos, cameras and streams
read_ahead          runs a reader in a thread
image_reader        reads images and makes the model's inputs of them, ahead of the prediction
sequences           images of a folder as the frames of a video
plan                names of images, and which files a prediction writes
image_boxes         boxes of persons from a file, for images by their names
tracking            identities of persons through a video
smoothing           smooths keypoints over time
records             the records of poses.json, as a stream
film                writes drawn films
interchange         formats of other tools
prediction_writer   writes drawings, films and poses.json
drawing_output      draws and writes in a thread, and shows drawings in a window
predict             all of these together, as tools/predict.py runs them
load_model          the trained model of a configuration, for analyses
"""
