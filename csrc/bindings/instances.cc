// SPDX-License-Identifier: MIT
// The instance pool as a Python object: copies a ragged batch into a ticket, waits with the GIL released, and turns outcomes into
// arrays or errors. Instances themselves never see Python.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "bindings/gil.h"
#include "bindings/register.h"
#include "encoder/encoder.h"
#include "runtime/encode_ticket.h"
#include "runtime/instance_pool.h"

namespace py = pybind11;

namespace fastformers::bindings {
namespace {

using runtime::Clock;
using runtime::EncodeTicket;
using runtime::InstancePool;
using runtime::Outcome;
using TicketPtr = std::shared_ptr<EncodeTicket>;
using Ids = py::array_t<std::int32_t, py::array::c_style>;
using Offsets = py::array_t<std::int64_t, py::array::c_style>;

// How long a wait may keep the interpreter from seeing Ctrl-C.
constexpr auto kSignalCheck = std::chrono::milliseconds(100);
constexpr double kLongestDeadlineSeconds = 1e9;

// The encoder must outlive the pool: members are destroyed from the last to the first.
struct Pool {
  py::object encoder_owner;
  const encoder::Encoder* encoder;
  std::unique_ptr<InstancePool> pool;
};

std::unique_ptr<Pool> make_pool(const py::object& encoder, int instances, int threads, bool pin,
                                std::int64_t capacity) {
  runtime::PoolOptions options;
  options.instances = instances;
  options.threads = threads;
  options.pin = pin;
  options.capacity = capacity;
  return std::make_unique<Pool>(
      Pool{encoder, &encoder.cast<const encoder::Encoder&>(), std::make_unique<InstancePool>(options)});
}

template <typename Array>
std::vector<typename Array::value_type> copy_of(const Array& array, const char* name) {
  FF_CHECK(ShapeError, array.ndim() == 1, name, " must be one-dimensional, got ", array.ndim(),
           " dimensions");
  return {array.data(), array.data() + array.size()};
}

// Offsets must be sound before anything is computed from them; the encoder checks ids, types and lengths.
runtime::RaggedInput input_of(const Ids& ids, const std::optional<Ids>& types, const Offsets& offsets) {
  runtime::RaggedInput input{copy_of(ids, "ids"), {}, copy_of(offsets, "offsets")};
  if (types.has_value()) {
    input.types = copy_of(*types, "types");
    FF_CHECK(ShapeError, input.types.size() == input.ids.size(), "types must have one value for each of the ",
             input.ids.size(), " ids, got ", input.types.size());
  }
  const std::vector<std::int64_t>& bounds = input.offsets;
  const auto tokens = static_cast<std::int64_t>(input.ids.size());
  FF_CHECK(ShapeError,
           bounds.size() >= 2 && bounds.front() == 0 && bounds.back() == tokens &&
               std::adjacent_find(bounds.begin(), bounds.end(),
                                  [](std::int64_t a, std::int64_t b) { return a >= b; }) == bounds.end(),
           "offsets must rise from 0 to the number of ids, ", tokens, ", with at least one token a sequence");
  return input;
}

Clock::time_point deadline_in(const std::optional<double>& seconds) {
  if (!seconds.has_value() || *seconds >= kLongestDeadlineSeconds) return Clock::time_point::max();
  return Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(*seconds));
}

TicketPtr submit(Pool& self, const Ids& ids, const std::optional<Ids>& types, const Offsets& offsets,
                 const std::vector<std::string>& outputs, const std::optional<double>& deadline,
                 std::int64_t tag) {
  std::vector<int> indices;
  for (const std::string& name : outputs) indices.push_back(self.encoder->output_index(name));
  const auto ticket = std::make_shared<EncodeTicket>(*self.encoder, input_of(ids, types, offsets),
                                                     std::move(indices), deadline_in(deadline), tag);
  self.pool->submit(ticket);
  return ticket;
}

py::list arrays_of(const EncodeTicket& ticket) {
  py::list arrays;
  for (const EncodeTicket::Result& result : ticket.results()) {
    py::array_t<float> array({result.rows, result.columns});
    std::memcpy(array.mutable_data(), result.values->data(), static_cast<std::size_t>(array.nbytes()));
    arrays.append(std::move(array));
  }
  return arrays;
}

[[noreturn]] void raise(const char* name, const char* message) {
  py::set_error(py::module_::import("fastformers.errors").attr(name), message);
  throw py::error_already_set();
}

py::list result_of(const EncodeTicket& ticket) {
  switch (ticket.outcome()) {
    case Outcome::kDone:
      return arrays_of(ticket);
    case Outcome::kFailed:
      std::rethrow_exception(ticket.error());
    case Outcome::kExpired:
      raise("DeadlineError", "the deadline passed before the request was begun; nothing was computed");
    case Outcome::kCancelled:
      raise("ClosedError", "the engine was closed before the request was begun");
    case Outcome::kPending:
      break;
  }
  raise("FastformersError", "the request is not finished: wait for it first");
}

// Calls step(until) with the GIL released until it says true, and lets Python see signals in between.
template <typename Step>
void wait_for(const Step& step) {
  for (;;) {
    {
      const GilRelease release;
      if (step(Clock::now() + kSignalCheck)) return;
    }
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
  }
}

void wait(Pool& self, const TicketPtr& ticket) {
  if (ticket->outcome() != Outcome::kPending) return;
  wait_for([&](Clock::time_point until) { return self.pool->wait(ticket, until) != Outcome::kPending; });
}

std::vector<TicketPtr> take_finished(Pool& self) {
  const GilRelease release;
  std::vector<TicketPtr> tickets;
  for (const runtime::TicketPtr& ticket : self.pool->take_finished()) {
    tickets.push_back(std::static_pointer_cast<EncodeTicket>(ticket));
  }
  return tickets;
}

void join(Pool& self) {
  wait_for([&](Clock::time_point until) { return self.pool->wait_stopped(until); });
}

}  // namespace

void register_instances(py::module_& module) {
  using py::arg;
  py::class_<EncodeTicket, TicketPtr>(module, "Ticket", py::is_final())
      .def_property_readonly("tag", [](const EncodeTicket& self) { return self.tag(); })
      .def_property_readonly("finished",
                             [](const EncodeTicket& self) { return self.outcome() != Outcome::kPending; })
      .def("result", &result_of);
  py::class_<Pool>(module, "InstancePool", py::is_final())
      .def(py::init(&make_pool), arg("encoder"), arg("instances"), arg("threads"), arg("pin"),
           arg("capacity"))
      .def("submit", &submit, arg("ids").noconvert(), arg("types").noconvert().none(true),
           arg("offsets").noconvert(), arg("outputs"), arg("deadline") = py::none(),
           arg("tag") = runtime::Ticket::kNotPosted)
      .def("wait", &wait, arg("ticket"))
      .def("take_finished", &take_finished)
      .def(
          "cancel", [](Pool& self, const TicketPtr& ticket) { return self.pool->cancel(ticket); },
          arg("ticket"))
      .def(
          "stop", [](Pool& self, bool drain) { self.pool->stop(drain); }, arg("drain"))
      .def("join", &join)
      .def_property_readonly("waiting", [](const Pool& self) { return self.pool->waiting(); })
      .def_property_readonly("running", [](const Pool& self) { return self.pool->running(); })
      .def_property_readonly("cpus", [](const Pool& self) { return self.pool->cpus(); });
}

}  // namespace fastformers::bindings
