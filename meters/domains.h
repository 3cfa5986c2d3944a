#pragma once
// What energies of several domains say together: which are summed, what the node drew beside them, and the
// level of the EE HPC WG's power-measurement methodology a window would satisfy.

#include <optional>
#include <string>
#include <vector>

#include "meters/energy.h"

namespace mlpwatt {

/// The energies of one channel over one window.
struct ChannelEnergy {
  std::string meter;
  Channel channel;
  Energy gross, net;  ///< with and without idle
  Idle idle;
};

/// One answer for the machine.
struct TotalEnergy {
  std::vector<std::size_t> parts;  ///< indices of the channels that were summed
  Energy gross, net;
  double idle_w = std::numeric_limits<double>::quiet_NaN();
  Provenance provenance = Provenance::kMeasured;
  std::string domains;  ///< "node", "package0+package1+dram0"
  std::string meters;
};

/// Whether nothing but devices beside the processor was summed.
bool is_accelerators_alone(const TotalEnergy& total, const std::vector<ChannelEnergy>& channels);

/// The other domains of these channels that lie in `domain`: all others for the node, else those whose
/// parent, or a parent of it, it is. In the channels' order, each once; no copies (duplicate_of), nothing of
/// another provenance.
std::vector<std::string> included_domains(const std::vector<Channel>& channels, const std::string& domain);

/// Whether a domain is a device beside the processor (gpu:UUID, accel0 ...): its power says nothing of what
/// the processor's kernels cost.
bool is_accelerator(const std::string& domain);

/// The channels of one provenance that no other of them contains or mirrors. Where several meters show the
/// same domain, the one with fewest flags, then with least uncertainty; channels without energy last. Where
/// a part is shown under names of different kinds (cpu and package0, accel0 and gpu:UUID), those of one kind,
/// which shows all of its members. GPUs lie inside Grace modules (module0 ...) where there are any.
std::vector<std::size_t> top_level(const std::vector<ChannelEnergy>& energies, Provenance provenance);
/// Their sum; nullopt when there are none. Accuracies of one meter add up, everything else in quadrature.
std::optional<TotalEnergy> total_energy(const std::vector<ChannelEnergy>& energies, Provenance provenance);

/// The node minus the largest measured set of domains inside it: fans, disks, supplies' losses. nullopt
/// when there is no node, or nothing inside it. Flagged when negative beyond twice its uncertainty.
std::optional<ChannelEnergy> rest_of_node(const std::vector<ChannelEnergy>& energies);

/// 1 to 3, or 0 when not even level 1: the whole node measured and no flag; level 1 at least 10 readings not
/// more than 60 s apart over at least 60 s with an instrument of 5 %; level 2 readings at least once a second
/// and 2 %; level 3 an energy counter and 1 %. The share of the machine is taken as whole: one node.
int ee_hpc_wg_level(const ChannelEnergy& energy);

}  // namespace mlpwatt
