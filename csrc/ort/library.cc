// SPDX-License-Identifier: MIT
// The one symbol that ONNX Runtime looks for: SessionOptions.register_custom_ops_library(fastformers.ort_library_path()).
#include "ort/attention_kernel.h"
#include "ort/encoder_kernel.h"
#include "ort/linear_kernel.h"
#include "ort/operator.h"

namespace fastformers::ort {
namespace {

const OrtApi* initialized_api(const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(ORT_API_VERSION);
  if (api != nullptr) Ort::InitApi(api);
  return api;
}

OrtStatusPtr too_old(const OrtApiBase* base) {
  const std::string words = internal::concat("fastformers' operators need ONNX Runtime 1.", ORT_API_VERSION,
                                             " or newer, this is ", base->GetVersionString());
  return base->GetApi(1)->CreateStatus(ORT_FAIL, words.c_str());
}

// Made once and never freed: sessions keep pointers to it, and the runtime may be gone before this library's static objects.
OrtCustomOpDomain* make_domain() {
  Ort::CustomOpDomain domain(kDomain);
  domain.Add(new Operator<LinearKernel>());
  domain.Add(new Operator<AttentionKernel>());
  domain.Add(new Operator<EncoderKernel>());
  return domain.release();
}

OrtStatusPtr register_all(OrtSessionOptions* options) {
  return as_status([&] {
    static OrtCustomOpDomain* const domain = make_domain();
    Ort::ThrowOnError(Ort::GetApi().AddCustomOpDomain(options, domain));
  });
}

}  // namespace
}  // namespace fastformers::ort

extern "C" __attribute__((visibility("default"))) OrtStatusPtr RegisterCustomOps(OrtSessionOptions* options,
                                                                                 const OrtApiBase* base) {
  using namespace fastformers::ort;
  if (initialized_api(base) == nullptr) return too_old(base);
  return register_all(options);
}
