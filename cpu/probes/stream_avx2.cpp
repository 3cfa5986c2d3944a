#if defined(__x86_64__)
#define MLPWATT_STREAM_LANES 8
#include "cpu/probes/stream_loops.h"

namespace mlpwatt::stream {
const Loops kAvx2{"avx2", copy, triad, read, write};
}  // namespace mlpwatt::stream
#endif
