#pragma once
// What the fitted models of a file advise: for the machines, datasets and sizes the file has runs of, the
// network and batch to take, what it saves against the median one of as many parameters, where its working
// sets live, and why.

#include <nlohmann/json.hpp>
#include <string>

namespace mlpwatt::model {

/// An array, one object a machine (its processor, its GPU), dataset and size that has more than one network;
/// empty when the file has no model of training steps. Everything in it is modelled. Batches are those that
/// fitted runs had.
/// @param most_datasets those with most runs on the machine
nlohmann::ordered_json advise(const std::string& path, int most_datasets = 4);

}  // namespace mlpwatt::model
