#pragma once
// A part of the grid that stands for the whole.

#include <cstdint>
#include <vector>

namespace mlpwatt {

/// An order of the points such that every beginning of it fills the space evenly: points of the additive
/// recurrence of the generalised golden ratio (a low-discrepancy sequence in any number of dimensions;
/// Roberts 2018), shifted by the seed, each taken as the grid cell it falls into, cells that do not exist or
/// are taken skipped; what the sequence does not meet in time follows in shuffled order.
/// @param coordinates of each point on each axis, in [0, 1), all of one length
/// @param count how many are wanted, at most the number of points
std::vector<std::size_t> space_filling_order(const std::vector<std::vector<double>>& coordinates,
                                             std::size_t count, std::uint64_t seed);

}  // namespace mlpwatt
