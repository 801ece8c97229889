// Transposed convolutions.
#include "direct.cuh"

DIRECT(conv_transpose, float, true)
DIRECT(conv_transpose_f64, double, true)
