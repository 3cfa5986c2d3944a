#if defined(__x86_64__)
#define MLPWATT_STREAM_LANES 16
#include "cpu/probes/stream_loops.h"

namespace mlpwatt::stream {
const Loops kAvx512{"avx512", copy, triad, read, write};
}  // namespace mlpwatt::stream
#endif
