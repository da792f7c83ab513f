// A small thread pool: the caller works too, waits only for pieces that somebody has taken, and
// sleeping threads cost nothing. So a thread that the system has put aside holds nobody up.
#pragma once
#include <stdint.h>

namespace lanai {

// One piece of a job. worker: 0 (the caller) to threads - 1.
using Piece = void (*)(void *context, int piece, int worker);

class Pool;

Pool *pool_new(int threads);
void pool_free(Pool *pool);
int pool_threads(const Pool *pool);
void pool_run(Pool *pool, Piece piece, void *context, int count);

// Runs work(piece, worker) for each piece below count.
template <class Work>
void run(Pool *pool, int count, const Work &work) {
  pool_run(
      pool,
      [](void *context, int piece, int worker) {
        (*static_cast<const Work *>(context))(piece, worker);
      },
      const_cast<Work *>(&work), count);
}

}  // namespace lanai
