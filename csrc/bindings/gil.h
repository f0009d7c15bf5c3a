// SPDX-License-Identifier: MIT
// Releases the GIL for the time of a compute call. Not pybind11's guard: see gil_restore.c for what happens to a daemon
// thread that comes back while the interpreter is finalizing.
#pragma once

#include <Python.h>

extern "C" void fastformers_restore_thread(PyThreadState* state);

namespace fastformers::bindings {

class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;
  ~GilRelease() { fastformers_restore_thread(state_); }

 private:
  PyThreadState* state_;
};

}  // namespace fastformers::bindings
