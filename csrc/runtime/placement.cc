// SPDX-License-Identifier: MIT
#include "runtime/placement.h"

#include <cstddef>

namespace fastformers::runtime {

std::vector<std::vector<int>> place_instances(const cpu::Topology& topology, int instances, int threads) {
  const std::vector<int> cpus = cpu::cpus_by_core(topology);
  const auto each = static_cast<std::size_t>(threads), count = static_cast<std::size_t>(instances);
  if (each * count > cpus.size()) return {};
  std::vector<std::vector<int>> places;
  for (std::size_t i = 0; i < count; ++i) {
    const auto first = cpus.begin() + static_cast<std::ptrdiff_t>(i * each);
    places.emplace_back(first, first + static_cast<std::ptrdiff_t>(each));
  }
  return places;
}

}  // namespace fastformers::runtime
