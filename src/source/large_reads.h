#pragma once

namespace walbrook {

class Connection;

// While it lives, poll(2) calls the connection's socket readable only when much has come
// (SO_RCVLOWAT, socket(7)): a server that sends 8 KiB at a time would otherwise wake us for
// each of them, which costs both sides more than the bytes do. What is less than that, the
// end for instance, is found by whoever waits at most kPatienceMs before each read.
class LargeReads {
 public:
    static constexpr int kBytes = 128 << 10;
    static constexpr int kPatienceMs = 2;

    explicit LargeReads(Connection& connection);
    ~LargeReads();
    LargeReads(const LargeReads&) = delete;
    LargeReads& operator=(const LargeReads&) = delete;

    // PQconsumeInput, and that several times in the beginning: libpq's buffer only grows
    // while something is in it. False on an error.
    bool consume();

 private:
    Connection& connection_;  // May be closed meanwhile.
    int to_grow_ = 4;
};

}  // namespace walbrook
