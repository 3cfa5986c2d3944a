// Four floats a vector: SSE2 on x86-64, NEON on ARM, whatever the target has elsewhere.
#define MLPWATT_STREAM_LANES 4
#include "cpu/probes/stream_loops.h"

namespace mlpwatt::stream {
const Loops kGeneric{"generic", copy, triad, read, write};
}  // namespace mlpwatt::stream
