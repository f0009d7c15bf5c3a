// SPDX-License-Identifier: MIT
// Takes the GIL back, or parks the thread for good when the interpreter ends meanwhile.
//
// CPython (before 3.14) ends a daemon thread that waits for the GIL during finalization with pthread_exit, which unwinds
// its stack. C++ frames in the way would abort the process (the extension has its own copy of the unwinder). In C a
// cleanup handler is reached by longjmp before any of them is; it never returns, and the process exits around it.
#include <Python.h>
#include <pthread.h>
#include <unistd.h>

static void park(void* unused) {
  (void)unused;
  for (;;) pause();
}

void fastformers_restore_thread(PyThreadState* state) {
  pthread_cleanup_push(park, NULL);
  PyEval_RestoreThread(state);
  pthread_cleanup_pop(0);
}
