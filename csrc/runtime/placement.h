// SPDX-License-Identifier: MIT
// Which CPU each thread of each instance runs on.
#pragma once

#include <vector>

#include "cpu/topology.h"

namespace fastformers::runtime {

// The CPUs of each instance's threads, all different: first one CPU of each physical core, then the second hardware threads. Empty
// when the affinity mask has too few: two threads pinned to one CPU would halve each other while another CPU idles.
std::vector<std::vector<int>> place_instances(const cpu::Topology& topology, int instances, int threads);

}  // namespace fastformers::runtime
