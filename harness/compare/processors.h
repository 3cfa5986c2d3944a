#pragma once
// Which processors everybody in a comparison may use: the same ones for us and for every peer.

#include <string>
#include <vector>

namespace mlpwatt {

/// Of `allowed` processors those to use for `threads` threads: one hardware thread of each core first, in the
/// order given. @param core_of a name of the core each belongs to, equal for siblings
/// @return all of `allowed` when there are fewer cores than threads
std::vector<int> choose_processors(const std::vector<int>& allowed, const std::vector<std::string>& core_of,
                                   int threads);

/// Confines every thread of this process, and whatever it starts from now on, to the processors of `threads`
/// cores. Within them nobody is bound. Errors: std::runtime_error when the system refuses.
void keep_to_cores(int threads);

/// What comparisons need to be fair: throws UsageError when OpenMP's own binding is on, because a library
/// that starts threads from a bound one gets only that one's processor.
void refuse_openmp_binding();

}  // namespace mlpwatt
