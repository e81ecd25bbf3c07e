#pragma once

#include <atomic>
#include <cstdint>
#include <list>
#include <thread>

namespace walbrook::testing {

// Answers as PgBouncer does where that matters to us.
class FakePooler {
 public:
    enum class Mode {
        // Refuses replication connections, as PgBouncer did before 1.23, and passes everything
        // else on to the server.
        refuses_replication,
        // Every client gets the same server session, as in pool_mode transaction. Knows one
        // answer only, the process of that session.
        shares_sessions,
    };
    FakePooler(Mode mode, std::uint16_t server_port);
    ~FakePooler();
    FakePooler(const FakePooler&) = delete;
    FakePooler& operator=(const FakePooler&) = delete;

    std::uint16_t port() const { return port_; }

 private:
    void accept_clients();
    void serve(int client) const;
    void pass_on(int client, const char* startup, std::size_t size) const;

    const Mode mode_;
    const std::uint16_t server_port_;
    std::uint16_t port_ = 0;
    int listener_ = -1;
    std::atomic<bool> is_stopping_ = false;
    std::list<std::thread> clients_;  // Only of accepting_, until that has ended.
    std::thread accepting_;
};

}  // namespace walbrook::testing
