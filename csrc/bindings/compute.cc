// SPDX-License-Identifier: MIT
// The compute calls: addresses in, nothing out, GIL released. dtype, device and layout were checked in Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <chrono>
#include <cstdlib>
#include <new>
#include <utility>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/check.h"
#include "bindings/gil.h"
#include "bindings/packed_weight.h"
#include "bindings/pointers.h"
#include "bindings/register.h"
#include "ops/attention.h"
#include "ops/elementwise.h"
#include "ops/linear.h"

namespace py = pybind11;

namespace fastformers::bindings {
namespace {

Activation activation_of(int code) {
  FF_CHECK(ShapeError, code >= 0 && code <= 3,
           "activation code must be 0 (none), 1 (relu), 2 (gelu) or 3 (gelu_tanh), got ", code);
  return static_cast<Activation>(code);
}

LinearOptions options_of(Address bias, Address factors, Address residual, std::int64_t residual_stride,
                         int activation, bool per_tensor, int threads) {
  LinearOptions options;
  options.bias = pointer<const float>(bias);
  options.factors = pointer<const float>(factors);
  options.residual = pointer<const float>(residual);
  options.residual_stride = residual_stride;
  options.activation = activation_of(activation);
  options.per_tensor = per_tensor;
  options.threads = threads;
  return options;
}

void linear_call(Address x, std::int64_t rows, std::int64_t x_stride, const OwnedPackedWeight& weight,
                 Address bias, Address factors, Address residual, std::int64_t residual_stride, Address out,
                 std::int64_t out_stride, int activation, bool per_tensor, int threads) {
  const LinearOptions options =
      options_of(bias, factors, residual, residual_stride, activation, per_tensor, threads);
  const GilRelease release;
  linear({pointer<const float>(x), rows, x_stride}, weight.view, options, pointer<float>(out), out_stride);
}

void linear_quantized_call(Address q, std::int64_t rows, std::int64_t q_stride, Address row_scales,
                           Address row_zero_points, const OwnedPackedWeight& weight, Address bias,
                           Address residual, std::int64_t residual_stride, Address out,
                           std::int64_t out_stride, int activation, int threads) {
  const LinearOptions options = options_of(bias, 0, residual, residual_stride, activation, false, threads);
  const GilRelease release;
  linear_from_quantized({pointer<const std::uint8_t>(q), rows, q_stride, pointer<const float>(row_scales),
                         pointer<const std::int32_t>(row_zero_points)},
                        weight.view, options, pointer<float>(out), out_stride);
}

void linear_to_quantized_call(Address x, std::int64_t rows, std::int64_t x_stride,
                              const OwnedPackedWeight& weight, Address bias, Address factors, int activation,
                              Address next_factors, Address q, std::int64_t q_stride, Address row_scales,
                              Address row_zero_points, int threads) {
  const LinearOptions options = options_of(bias, factors, 0, 0, activation, false, threads);
  const GilRelease release;
  linear_to_quantized({pointer<const float>(x), rows, x_stride}, weight.view, options,
                      pointer<const float>(next_factors),
                      {pointer<std::uint8_t>(q), q_stride, pointer<float>(row_scales),
                       pointer<std::int32_t>(row_zero_points)});
}

void matmul_s32_call(Address q, std::int64_t rows, std::int64_t q_stride, const OwnedPackedWeight& weight,
                     Address out, std::int64_t out_stride, int threads) {
  const GilRelease release;
  matmul_s32({pointer<const std::uint8_t>(q), rows, q_stride, nullptr, nullptr}, weight.view, threads,
             pointer<std::int32_t>(out), out_stride);
}

void quantize_rows_call(Address x, std::int64_t rows, std::int64_t depth, std::int64_t x_stride,
                        Address factors, bool per_tensor, Address q, std::int64_t q_stride,
                        Address row_scales, Address row_zero_points, int threads) {
  const GilRelease release;
  quantize_matrix({pointer<const float>(x), rows, x_stride}, depth, pointer<const float>(factors), per_tensor,
                  threads,
                  {pointer<std::uint8_t>(q), q_stride, pointer<float>(row_scales),
                   pointer<std::int32_t>(row_zero_points)});
}

void layer_norm_call(Address x, std::int64_t rows, std::int64_t depth, std::int64_t x_stride,
                     Address residual, std::int64_t residual_stride, Address gamma, Address beta,
                     float epsilon, Address out, std::int64_t out_stride, Address factors, Address q,
                     std::int64_t q_stride, Address row_scales, Address row_zero_points, int threads) {
  LayerNormOptions options{pointer<const float>(gamma), pointer<const float>(beta), epsilon};
  options.residual = pointer<const float>(residual);
  options.residual_stride = residual_stride;
  options.factors = pointer<const float>(factors);
  options.threads = threads;
  const GilRelease release;
  layer_norm({pointer<const float>(x), rows, x_stride}, depth, options, pointer<float>(out), out_stride,
             {pointer<std::uint8_t>(q), q_stride, pointer<float>(row_scales),
              pointer<std::int32_t>(row_zero_points)});
}

void softmax_call(Address x, std::int64_t rows, std::int64_t depth, std::int64_t x_stride, Address out,
                  std::int64_t out_stride, int threads) {
  const GilRelease release;
  softmax({pointer<const float>(x), rows, x_stride}, depth, threads, pointer<float>(out), out_stride);
}

void gelu_call(Address x, std::int64_t count, Address out, bool approximate_tanh, int threads) {
  const GilRelease release;
  gelu(pointer<const float>(x), count, approximate_tanh ? Activation::kGeluTanh : Activation::kGeluErf,
       threads, pointer<float>(out));
}

// products: 0 auto, 1 float32, 2 int8.
void attention_call(Address qkv, std::int64_t stride, Address offsets, std::int64_t sequences,
                    std::int64_t heads, std::int64_t head_size, std::int64_t window, Address relative_bias,
                    std::int64_t max_tokens, int products, Address out, std::int64_t out_stride,
                    int threads) {
  AttentionArgs args{};
  args.qkv = pointer<const float>(qkv);
  args.stride = stride;
  args.offsets = pointer<const std::int64_t>(offsets);
  args.sequences = sequences;
  args.heads = heads;
  args.head_size = head_size;
  args.window = window;
  args.relative_bias = pointer<const float>(relative_bias);
  args.max_tokens = max_tokens;
  args.mode = static_cast<AttentionMode>(products);
  args.threads = threads;
  const GilRelease release;
  attention(args, pointer<float>(out), out_stride);
}

// Whether this is a NumPy array of native float32, C-contiguous and aligned: what the short path below takes. NumPy has one
// descriptor object for native float32; one of another byte order is another object.
bool is_plain_float(const py::handle& object) {
  if (!py::isinstance<py::array>(object)) return false;
  const auto array = py::reinterpret_borrow<py::array>(object);
  constexpr int kFlags = py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_;
  static const PyObject* native_float = py::dtype::of<float>().release().ptr();
  return array.dtype().ptr() == native_float && (array.flags() & kFlags) == kFlags;
}

// A NumPy array on memory of ours that starts on a cache line.
py::array_t<float> aligned_array(py::array::ShapeContainer shape) {
  std::size_t count = 1;
  for (const py::ssize_t size : *shape) count *= static_cast<std::size_t>(size);
  const std::size_t bytes = (count * sizeof(float) + kCacheLineBytes) / kCacheLineBytes * kCacheLineBytes;
  void* data = std::aligned_alloc(kCacheLineBytes, bytes);
  if (data == nullptr) throw std::bad_alloc();
  const py::capsule owner(data, [](void* memory) { std::free(memory); });
  return py::array_t<float>(std::move(shape), static_cast<const float*>(data), owner);
}

// The whole of kernels.linear for the plainest arguments, or None when they are not plain (the caller then checks them
// properly and says what is wrong): 0.7 microseconds over the kernel instead of 6.
py::object linear_plain(const py::object& x, const OwnedPackedWeight& weight, const py::object& bias,
                        int activation, int threads) {
  if (!is_plain_float(x) || (!bias.is_none() && !is_plain_float(bias))) return py::none();
  const auto rows = py::reinterpret_borrow<py::array>(x);
  const std::int64_t depth = weight.view.depth(), columns = weight.view.columns();
  if (rows.ndim() < 1 || rows.shape(rows.ndim() - 1) != depth) return py::none();
  Address bias_address = 0;
  if (!bias.is_none()) {
    const auto values = py::reinterpret_borrow<py::array>(bias);
    if (values.ndim() != 1 || values.shape(0) != columns) return py::none();
    bias_address = reinterpret_cast<Address>(values.data());
  }
  std::vector<py::ssize_t> shape(rows.shape(), rows.shape() + rows.ndim());
  shape.back() = columns;
  py::array_t<float> out = aligned_array(std::move(shape));
  linear_call(reinterpret_cast<Address>(rows.data()), rows.size() / depth, depth, weight, bias_address, 0, 0,
              0, reinterpret_cast<Address>(out.mutable_data()), columns, activation, false, threads);
  return std::move(out);
}

// The address of a NumPy array's first element, in a tenth of the time of array.ctypes.data.
Address array_address(const py::array& array) { return reinterpret_cast<Address>(array.data()); }

// Seconds a call takes inside a loop of `repetitions`: the kernel's own speed, without Python.
double time_linear(Address x, std::int64_t rows, std::int64_t x_stride, const OwnedPackedWeight& weight,
                   Address bias, Address out, std::int64_t out_stride, int activation, int threads,
                   std::int64_t repetitions) {
  FF_CHECK(ShapeError, repetitions >= 1, "repetitions must be at least 1, got ", repetitions);
  const LinearOptions options = options_of(bias, 0, 0, 0, activation, false, threads);
  const GilRelease release;
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < repetitions; ++i) {
    linear({pointer<const float>(x), rows, x_stride}, weight.view, options, pointer<float>(out), out_stride);
  }
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
  return elapsed.count() / static_cast<double>(repetitions);
}

}  // namespace

void register_compute(py::module_& module) {
  using py::arg;
  module.def("linear", &linear_call, arg("x"), arg("rows"), arg("x_stride"), arg("weight"), arg("bias"),
             arg("factors"), arg("residual"), arg("residual_stride"), arg("out"), arg("out_stride"),
             arg("activation"), arg("per_tensor"), arg("threads"));
  module.def("linear_plain", &linear_plain, arg("x"), arg("weight"), arg("bias"), arg("activation"),
             arg("threads"), py::pos_only());
  module.def("array_address", &array_address, arg("array"), py::pos_only());
  module.def("linear_quantized", &linear_quantized_call, arg("q"), arg("rows"), arg("q_stride"),
             arg("row_scales"), arg("row_zero_points"), arg("weight"), arg("bias"), arg("residual"),
             arg("residual_stride"), arg("out"), arg("out_stride"), arg("activation"), arg("threads"));
  module.def("linear_to_quantized", &linear_to_quantized_call, arg("x"), arg("rows"), arg("x_stride"),
             arg("weight"), arg("bias"), arg("factors"), arg("activation"), arg("next_factors"), arg("q"),
             arg("q_stride"), arg("row_scales"), arg("row_zero_points"), arg("threads"));
  module.def("matmul_s32", &matmul_s32_call, arg("q"), arg("rows"), arg("q_stride"), arg("weight"),
             arg("out"), arg("out_stride"), arg("threads"));
  module.def("quantize_rows", &quantize_rows_call, arg("x"), arg("rows"), arg("depth"), arg("x_stride"),
             arg("factors"), arg("per_tensor"), arg("q"), arg("q_stride"), arg("row_scales"),
             arg("row_zero_points"), arg("threads"));
  module.def("layer_norm", &layer_norm_call, arg("x"), arg("rows"), arg("depth"), arg("x_stride"),
             arg("residual"), arg("residual_stride"), arg("gamma"), arg("beta"), arg("epsilon"), arg("out"),
             arg("out_stride"), arg("factors"), arg("q"), arg("q_stride"), arg("row_scales"),
             arg("row_zero_points"), arg("threads"));
  module.def("softmax", &softmax_call, arg("x"), arg("rows"), arg("depth"), arg("x_stride"), arg("out"),
             arg("out_stride"), arg("threads"));
  module.def("attention", &attention_call, arg("qkv"), arg("stride"), arg("offsets"), arg("sequences"),
             arg("heads"), arg("head_size"), arg("window"), arg("relative_bias"), arg("max_tokens"),
             arg("products"), arg("out"), arg("out_stride"), arg("threads"));
  module.def("gelu", &gelu_call, arg("x"), arg("count"), arg("out"), arg("approximate_tanh"), arg("threads"));
  module.def("time_linear", &time_linear, arg("x"), arg("rows"), arg("x_stride"), arg("weight"), arg("bias"),
             arg("out"), arg("out_stride"), arg("activation"), arg("threads"), arg("repetitions"));
}

}  // namespace fastformers::bindings
