#include <Python.h>
#include <torch/library.h>

TORCH_LIBRARY(posecore, m) {
  m.def("keypoint_sample(Tensor value, Tensor points, Tensor images) -> Tensor");
  m.def("keypoint_sample_grad_value(Tensor grad, Tensor value, Tensor points, Tensor images) -> Tensor");
  m.def("keypoint_sample_grad_points(Tensor grad, Tensor value, Tensor points, Tensor images) -> Tensor");

  m.def("ms_deform_attn(Tensor value, SymInt[] shapes, Tensor locations, Tensor weights) -> Tensor");
  m.def(
      "ms_deform_attn_grad_value(Tensor grad, Tensor value, SymInt[] shapes, Tensor locations, Tensor weights)"
      " -> Tensor");
  m.def(
      "ms_deform_attn_grad_points(Tensor grad, Tensor value, SymInt[] shapes, Tensor locations, Tensor weights)"
      " -> (Tensor, Tensor)");
}

// `import posecore._C` loads the library. The module itself is empty; the operators are registered with
// torch.
extern "C" PyObject* PyInit__C() {
  static PyModuleDef module = {PyModuleDef_HEAD_INIT, "_C", nullptr, -1, nullptr};
  return PyModule_Create(&module);
}
