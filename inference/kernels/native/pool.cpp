#include "pool.h"

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

#include "interface.h"

namespace lanai {

namespace {

// Long enough to bridge the gap between two jobs of a decode step, short enough that a sleeping
// program stops using the processor at once.
constexpr int SPINS = 4000;

inline void relax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

inline uint32_t next_of(uint64_t ticket) { return ticket & 0xffff; }
inline uint32_t count_of(uint64_t ticket) { return ticket >> 16 & 0xffff; }

}  // namespace

class Pool {
 public:
  // 1 .. LANAI_MOST_THREADS
  explicit Pool(int threads) : threads_(threads) {
    try {
      for (int worker = 1; worker < threads_; worker++)
        workers_[worker] = std::thread([this, worker] { serve(worker); });
    } catch (...) {  // the system gives no more: those that run must not be left
      stop();
      throw;
    }
  }

  ~Pool() { stop(); }

  int threads() const { return threads_; }

  void run(Piece piece, void *context, int count) {
    if (threads_ == 1 || count == 1) {
      for (int at = 0; at < count; at++) piece(context, at, 0);
      return;
    }
    // A job's count fits 16 bits; more pieces go in several jobs.
    for (int first = 0; first < count; first += MOST_PIECES) {
      int last = count - first < MOST_PIECES ? count - first : MOST_PIECES;
      share(piece, context, first, last);
    }
  }

 private:
  static constexpr int MOST_PIECES = 60000;

  void stop() {
    {
      std::lock_guard<std::mutex> held(mutex_);
      stop_ = true;
    }
    wake_.notify_all();
    for (std::thread &worker : workers_)
      if (worker.joinable()) worker.join();
  }

  void share(Piece piece, void *context, int first, int count) {
    // Nobody can hold a piece of the last job here, so its description may be replaced.
    piece_ = piece;
    context_ = context;
    first_ = first;
    done_.store(0, std::memory_order_relaxed);
    generation_++;
    ticket_.store(static_cast<uint64_t>(generation_) << 32 | static_cast<uint64_t>(count) << 16);
    // Sequentially consistent with serve: either we see the sleeper or it sees the ticket.
    if (sleepers_.load() > 0) {
      std::lock_guard<std::mutex> held(mutex_);
      wake_.notify_all();
    }
    while (take(0)) {
    }
    int spins = 0;
    while (done_.load(std::memory_order_acquire) < count) {
      if (++spins < SPINS)
        relax();
      else
        std::this_thread::yield();
    }
  }

  // Does one piece of the current job; false when none is left.
  bool take(int worker) {
    uint64_t ticket = ticket_.load(std::memory_order_acquire);
    do {
      if (next_of(ticket) >= count_of(ticket)) return false;
    } while (!ticket_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_acq_rel));
    piece_(context_, first_ + static_cast<int>(next_of(ticket)), worker);
    done_.fetch_add(1, std::memory_order_acq_rel);
    return true;
  }

  bool open() const {
    uint64_t ticket = ticket_.load();
    return next_of(ticket) < count_of(ticket);
  }

  void serve(int worker) {
    while (true) {
      while (take(worker)) {
      }
      int spins = 0;
      while (!open() && ++spins < SPINS) relax();
      if (spins < SPINS) continue;
      std::unique_lock<std::mutex> held(mutex_);
      sleepers_++;
      wake_.wait(held, [this] { return stop_ || open(); });
      sleepers_--;
      if (stop_) return;
    }
  }

  const int threads_;
  uint32_t generation_ = 0;
  Piece piece_ = nullptr;
  void *context_ = nullptr;
  int first_ = 0;
  alignas(64) std::atomic<uint64_t> ticket_{0};
  alignas(64) std::atomic<int> done_{0};
  alignas(64) std::atomic<int> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread workers_[LANAI_MOST_THREADS];
};

Pool *pool_new(int threads) {
  if (threads < 1 || threads > LANAI_MOST_THREADS) return nullptr;
  try {
    return new Pool(threads);
  } catch (...) {  // no thread or no memory: the caller is C
    return nullptr;
  }
}
void pool_free(Pool *pool) { delete pool; }
int pool_threads(const Pool *pool) { return pool->threads(); }
void pool_run(Pool *pool, Piece piece, void *context, int count) {
  pool->run(piece, context, count);
}

}  // namespace lanai
