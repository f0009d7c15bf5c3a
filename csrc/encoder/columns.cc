// SPDX-License-Identifier: MIT
// How a team of threads shares a matmul: each takes some of the columns, so that it reads its part of the weights and not all of
// them. A column's sums are the same in the same order whoever takes it, hence the same bits.
#include <algorithm>

#include "encoder/execution.h"
#include "kernels/packed_layout.h"

namespace fastformers::encoder {
namespace {

// Panels that a tile of the kernels computes at once; a cut between tiles would leave a narrow one on each side.
constexpr std::int64_t kTilePanels = 4;

void quantize(const RowTeam& team, const LinearLayer& layer, const Input& input) {
  if (!layer.is_int8() || input.quantized) return;
  for_rows(team, input.rows, [&](std::int64_t first, std::int64_t rows) {
    Input part = {input.x + first * input.x_stride, input.x_stride, rows, input.block.from_row(first), false};
    layer.prepare(team.run.kernels(), part);
  });
}

}  // namespace

RowTeam whole_team(const Execution& run, Team::Member& member, int index) {
  return {run, member, run.members, run.workspace.rows(0), run.workspace.rows(index).gemm, run.watch(index)};
}

void multiply(const RowTeam& team, const LinearLayer& layer, const Input& input, const Epilogue& epilogue,
              float* out, std::int64_t out_stride) {
  quantize(team, layer, input);
  Input ready = input;
  ready.quantized = true;
  const std::int64_t panels = panel_count(layer.columns());
  const std::int64_t tiles = (panels + kTilePanels - 1) / kTilePanels;
  const auto tasks = static_cast<int>(std::min<std::int64_t>(tiles, team.members));
  team.member.phase(tasks, [&](int task) {
    const std::int64_t first = tiles * task / tasks * kTilePanels;
    const std::int64_t last = std::min(panels, tiles * (task + 1) / tasks * kTilePanels);
    const std::int64_t column = first * kPanelColumns;
    Epilogue part = epilogue;
    if (part.residual != nullptr) part.residual += column;
    layer.run(team.run.kernels(), ready, first, last, part, team.gemm_scratch, out + column, out_stride);
  });
}

}  // namespace fastformers::encoder
