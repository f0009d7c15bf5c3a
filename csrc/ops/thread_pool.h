// SPDX-License-Identifier: MIT
// One pool of worker threads for the whole process. No OpenMP: two OpenMP runtimes in one process hang and crash.
//
// Workers spin for about 50 microseconds after a job (the next layer's call usually comes within that), then sleep on
// a futex and use no CPU. The pool starts its threads on first use, grows on demand, and is abandoned and rebuilt in a
// forked child. A call that finds the pool busy (another thread's call, or a nested one) runs on its own thread alone:
// every task is independent, so that is correct, and it never waits for strangers.
#pragma once

#include <cstdint>
#include <memory>
#include <type_traits>
#include <vector>

namespace fastformers {

// A borrowed callable void(int task): no allocation, valid only during the call it is passed to.
class TaskRef {
 public:
  template <typename Callable, typename = std::enable_if_t<!std::is_same_v<std::decay_t<Callable>, TaskRef>>>
  TaskRef(const Callable& callable)  // NOLINT: implicit by design, as std::function is
      : object_(&callable),
        invoke_([](const void* object, int task) { (*static_cast<const Callable*>(object))(task); }) {}

  void operator()(int task) const { invoke_(object_, task); }

 private:
  const void* object_;
  void (*invoke_)(const void* object, int task);
};

// Runs task(0) ... task(tasks - 1) on the calling thread and tasks - 1 workers, each taking the next one that is left; tasks
// must be independent. Returns when all are done; rethrows the first exception of a task. Safe from any thread, inside a task, and after fork.
void parallel_tasks(int tasks, const TaskRef& task);

class Pool;

// Workers of one thread's own: as long as the object lives, parallel_tasks on the thread that made it uses them and not the
// process-wide ones, so that instances that compute at the same time have all their threads at the same time. They start
// on first use and end with the object; helper i is pinned to cpus[i] when there is one.
class OwnHelpers {
 public:
  explicit OwnHelpers(std::vector<int> cpus);
  OwnHelpers(const OwnHelpers&) = delete;
  OwnHelpers& operator=(const OwnHelpers&) = delete;
  ~OwnHelpers();

 private:
  std::unique_ptr<Pool> pool_;
};

// The thread count used when a call asks for none: set_num_threads, else FASTFORMERS_NUM_THREADS, else
// cpu::default_threads.
int num_threads();
void set_num_threads(int threads);

// The thread count of a call that asked for `threads` (0: num_threads()); throws ShapeError beyond 1,024.
int threads_for_call(int threads);

// Workers alive in the process-wide pool now (0 until a call used more than one thread).
int pool_workers();

}  // namespace fastformers
