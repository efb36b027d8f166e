#pragma once

// The emulation runs a kernel while it is launched, and ends the process at an error.
#define C10_CUDA_KERNEL_LAUNCH_CHECK()
