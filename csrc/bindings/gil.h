// SPDX-License-Identifier: MIT
// Releases the GIL for the time of a compute call. Not pybind11's guard: a daemon thread that comes back while the interpreter
// is finalizing would take the GIL in a destructor, CPython (before 3.14) would end the thread there, and the
// process would abort. Such a thread is parked instead: the process is about to exit under it.
#pragma once

#include <Python.h>
#include <unistd.h>

namespace fastformers::bindings {

class GilRelease {
 public:
  GilRelease() : state_(PyEval_SaveThread()) {}
  GilRelease(const GilRelease&) = delete;
  GilRelease& operator=(const GilRelease&) = delete;

  ~GilRelease() {
    while (is_finalizing()) pause();
    PyEval_RestoreThread(state_);
  }

 private:
  static bool is_finalizing() {
#if PY_VERSION_HEX >= 0x030D0000
    return Py_IsFinalizing() != 0;
#else
    return _Py_IsFinalizing() != 0;
#endif
  }

  PyThreadState* state_;
};

}  // namespace fastformers::bindings
