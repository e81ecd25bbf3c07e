#include "source/large_reads.h"

#include "postgres/connection.h"

#include <libpq-fe.h>

#include <sys/socket.h>

namespace walbrook {
namespace {

// Doublings of libpq's first 16 KiB: enough for kBytes and some more.
constexpr int kDoublings = 5;

// A refusal only means smaller reads.
void set_low_mark(Connection& connection, int bytes) {
    const int fd = PQsocket(connection.handle());  // -1 when it is closed.
    if (fd >= 0) (void)setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

}  // namespace

LargeReads::LargeReads(Connection& connection) : connection_(connection) {
    set_low_mark(connection_, kBytes);
}

LargeReads::~LargeReads() { set_low_mark(connection_, 1); }

bool LargeReads::consume() {
    const int rounds = to_grow_ > 0 ? kDoublings : 1;
    to_grow_ -= to_grow_ > 0 ? 1 : 0;
    for (int i = 0; i < rounds; ++i) {
        if (PQconsumeInput(connection_.handle()) == 0) return false;
    }
    return true;
}

}  // namespace walbrook
